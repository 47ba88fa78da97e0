package lambda

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"davy/internal/arn"
	"davy/internal/awsapi"
)

// layerKey names a layer.
type layerKey struct{ account, region, name string }

func (k layerKey) arn() string {
	return "arn:aws:lambda:" + k.region + ":" + k.account + ":layer:" + k.name
}

func (k layerKey) versionARN(number int64) string {
	return k.arn() + ":" + strconv.FormatInt(number, 10)
}

func layerPrefix(account, region string) string { return layerRoot + account + "/" + region + "/" }

func (k layerKey) doc() string { return layerPrefix(k.account, k.region) + k.name }

func (k layerKey) versions() string {
	return layerVerRoot + k.account + "/" + k.region + "/" + k.name + "/"
}

// maxLayerVersion bounds a version's number: ten digits.
const maxLayerVersion = 9_999_999_999

// version is the key of a version's document. Its number counts down, so that
// the newest version is the first.
func (k layerKey) version(number int64) string {
	return k.versions() + fmt.Sprintf("%010d", maxLayerVersion-number)
}

// parseLayer reads the ARN of a layer.
func parseLayer(s string) (layerKey, bool) {
	k, number, ok := cutLayer(s)
	return k, ok && number == ""
}

// parseLayerVersion reads the ARN of a layer's version.
func parseLayerVersion(s string) (k layerKey, number int64, ok bool) {
	k, text, ok := cutLayer(s)
	if !ok || !isVersion(text) || len(text) > 10 {
		return k, 0, false
	}
	number = mustNumber(text)
	// 007 is not version 7.
	return k, number, number > 0 && strconv.FormatInt(number, 10) == text
}

func cutLayer(s string) (k layerKey, number string, ok bool) {
	a, err := arn.Parse(s)
	if err != nil || a.Partition != arn.Partition || a.Service != "lambda" || !isAccount(a.Account) || a.Region == "" || !all(a.Region, isNameByte) {
		return layerKey{}, "", false
	}
	name, ok := strings.CutPrefix(a.Resource, "layer:")
	name, number, _ = strings.Cut(name, ":")
	return layerKey{account: a.Account, region: a.Region, name: name}, number, ok && isName(name) && len(name) <= 140
}

// locateLayer is the layer that an operation's input names: by its name or its
// ARN.
func locateLayer(ctx context.Context, nameOrARN *string) (layerKey, error) {
	call, name := awsapi.CallFrom(ctx), awsapi.Val(nameOrARN)
	if !strings.HasPrefix(name, "arn:") {
		if !isName(name) || len(name) > 140 {
			return layerKey{}, layerNameConstraint(name)
		}
		return layerKey{account: call.Account, region: call.Region, name: name}, nil
	}
	k, ok := parseLayer(name)
	switch {
	case !ok:
		return k, layerNameConstraint(name)
	case k.region != call.Region:
		return k, noSuchLayer() // each region has its own
	}
	return k, nil
}

func layerNameConstraint(name string) error {
	return constraint(name, "layerName", `Member must satisfy regular expression pattern: (arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]{1,140}|[a-zA-Z0-9-_]{1,140})`)
}

// locateLayerVersion is the layer and the version that an input names.
func locateLayerVersion(ctx context.Context, nameOrARN *string, version *int64) (layerKey, int64, error) {
	number := awsapi.Val(version)
	if number < 1 {
		return layerKey{}, 0, invalid("Layer Version Cannot be less than 1")
	}
	k, err := locateLayer(ctx, nameOrARN)
	if err == nil && number > maxLayerVersion {
		err = noSuchLayer()
	}
	return k, number, err
}

func noSuchLayer() error { return notFound("The resource you requested does not exist.") }

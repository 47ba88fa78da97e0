package lambda

import (
	"strings"
	"testing"
)

func TestParseLayerVersion(t *testing.T) {
	const arn = "arn:aws:lambda:us-east-1:000000000000:layer:"
	for in, want := range map[string]int64{
		arn + "l:1":                              1,
		arn + "l_-9:12":                          12,
		arn + "l:9999999999":                     9999999999,
		arn + strings.Repeat("n", 140) + ":1":    1,
		arn + "l":                                0,
		arn + "l:":                               0,
		arn + "l:0":                              0,
		arn + "l:01":                             0,
		arn + "l:-1":                             0,
		arn + "l:1:1":                            0,
		arn + "l:x":                              0,
		arn + "l:10000000000":                    0,
		arn + "l.x:1":                            0,
		arn + "*:1":                              0,
		arn + "a/b:1":                            0,
		arn + ":1":                               0,
		arn + strings.Repeat("n", 141) + ":1":    0,
		"arn:aws:lambda:::awslayer:AmazonLinux":  0,
		"arn:aws:lambda:us-east-1::layer:l:1":    0,
		"arn:aws:lambda::000000000000:layer:l:1": 0,
		"arn:aws:lambda:a/b:000000000000:layer:l:1":          0,
		"arn:aws-cn:lambda:us-east-1:000000000000:layer:l:1": 0,
		"arn:aws:lambda:us-east-1:000000000000:function:l:1": 0,
		"arn:aws:s3:us-east-1:000000000000:layer:l:1":        0,
		"l:1": 0,
		"":    0,
	} {
		k, number, ok := parseLayerVersion(in)
		if ok != (want > 0) || ok && (number != want || k.versionARN(number) != in) {
			t.Errorf("%q: %+v %d %v, want %d", in, k, number, ok, want)
		}
	}
}

// Newer versions have smaller keys, all of one length.
func TestLayerKey_VersionsCountDown(t *testing.T) {
	k := layerKey{account: "000000000000", region: "us-east-1", name: "l"}
	for _, n := range []int64{1, 9, 10, 99, 123456, maxLayerVersion - 1} {
		if a, b := k.version(n), k.version(n+1); b >= a || len(a) != len(b) || !strings.HasPrefix(a, k.versions()) {
			t.Errorf("%d: %s and %s", n, a, b)
		}
	}
}

func FuzzParseLayerVersion(f *testing.F) {
	f.Add("arn:aws:lambda:us-east-1:000000000000:layer:l:1")
	f.Add("arn:aws:lambda:us-east-1:000000000000:layer:l:01")
	f.Add("arn:aws:lambda:::awslayer:x")
	f.Fuzz(func(t *testing.T, in string) {
		k, number, ok := parseLayerVersion(in)
		if _, layer := parseLayer(in); layer && ok {
			t.Fatalf("%q is a layer and a version", in)
		}
		if !ok {
			return
		}
		if k.versionARN(number) != in {
			t.Fatalf("%q is read as %q", in, k.versionARN(number))
		}
		if doc := k.version(number); strings.Count(doc, "/") != 5 || strings.ContainsAny(k.name, "*?/:") {
			t.Fatalf("%q has the document %q", in, doc)
		}
	})
}

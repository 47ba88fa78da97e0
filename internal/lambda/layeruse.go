package lambda

import (
	"errors"
	"fmt"
	"io"

	"davy/internal/blob"
)

// attached is a layer's version that a version of a function has. It is all
// that the function needs of it: the layer's version may be deleted, and the
// permission to use it taken back.
// https://docs.aws.amazon.com/lambda/latest/dg/adding-layers.html
type attached struct {
	ARN      string
	SHA256   string // of the zip, hex
	Size     int64  // bytes of the zip
	Unzipped int64  // bytes of its files
}

func unzipped(layers []attached) int64 {
	var n int64
	for _, l := range layers {
		n += l.Unzipped
	}
	return n
}

func (v *version) layerHashes() []string {
	var out []string
	for _, l := range v.Layers {
		out = append(out, l.SHA256)
	}
	return out
}

// hold counts one version of a function more (+1) or fewer (-1) among the users
// of its code and of its layers.
func (t *transaction) hold(v *version, n int64) error {
	if err := t.use(v.CodeSHA256, n); err != nil {
		return err
	}
	return t.holdLayers(v, n)
}

func (t *transaction) holdLayers(v *version, n int64) error {
	for _, l := range v.Layers {
		if err := t.use(l.SHA256, n); err != nil {
			return err
		}
	}
	return nil
}

// attach gives a function's version these layers in place of those that it has.
// code is the size of the function's own files. Whether the caller may use the
// layers was decided before.
// https://docs.aws.amazon.com/lambda/latest/dg/chapter-layers.html
func (c *change) attach(v *version, layerARNs []string, code int64) error {
	if len(layerARNs) > maxLayers {
		return invalid("Cannot reference more than %d layers.", maxLayers)
	}
	var layers []attached
	seen := map[layerKey]string{}
	for _, arn := range layerARNs {
		k, number, ok := parseLayerVersion(arn)
		switch {
		case !ok: // of AWS's own layers, which have another form
			return invalid("Layer version %s does not exist.", arn)
		case k.region != c.key.region:
			return invalid("Layers are not in the same region as the function. Layers are expected to be in region %s.", c.key.region)
		}
		l, _, err := c.s.loadLayerVersion(c.ctx, k, number)
		if isNotFound(err) {
			return invalid("Layer version %s does not exist.", arn)
		}
		if err != nil {
			return err
		}
		if first, twice := seen[k]; twice {
			return invalid("Two different versions of the same layer are not allowed to be referenced in the same function. %s and %s are versions of the same layer.", first, arn)
		}
		seen[k] = arn
		code, err := c.codeDoc(l.CodeSHA256)
		if err != nil {
			return err
		}
		if code.Blob == "" { // deleted since it was read
			return invalid("Layer version %s does not exist.", arn)
		}
		layers = append(layers, attached{ARN: arn, SHA256: l.CodeSHA256, Size: l.CodeSize, Unzipped: code.Unzipped})
	}
	switch all := unzipped(layers); {
	case all > maxUnzipped:
		return invalid("Layers consume more than the available size of %d bytes", maxUnzipped)
	case all+code > maxUnzipped:
		return invalid("Function code combined with layers exceeds the maximum allowed size of %d bytes. The actual size is %d bytes.", maxUnzipped, all+code)
	}
	if err := c.checkMerge(layers); err != nil {
		return err
	}
	if err := c.holdLayers(v, -1); err != nil {
		return err
	}
	v.Layers = layers
	return c.holdLayers(v, 1)
}

// checkMerge refuses layers whose files cannot be merged, before a function is
// to start with them.
func (t *transaction) checkMerge(layers []attached) error {
	if len(layers) < 2 || t.s.cfg.CheckLayers == nil {
		return nil
	}
	var zips []*io.SectionReader
	for _, l := range layers {
		code, err := t.codeDoc(l.SHA256)
		if err != nil {
			return err
		}
		r, err := t.s.cfg.Blobs.Open(t.ctx, code.Blob)
		if errors.Is(err, blob.ErrNotFound) { // deleted since it was read
			return invalid("Layer version %s does not exist.", l.ARN)
		}
		if err != nil {
			return fmt.Errorf("open layer %s: %w", l.ARN, err)
		}
		defer r.Close()
		zips = append(zips, io.NewSectionReader(r, 0, r.Size()))
	}
	return t.s.cfg.CheckLayers(zips)
}

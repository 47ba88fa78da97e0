package lambda

import (
	"context"
	"encoding/base64"

	"davy/internal/awsapi"
)

// page is the part of a listing that a caller asks for.
type page struct {
	after string // the last item of the page before
	n     int    // at most
}

// newPage reads Marker and MaxItems. AWS gives at most 50 items a page,
// whatever the caller asks for.
func newPage(markerIn *string, maxItems *int32) (page, error) {
	p := page{n: maxPage}
	if maxItems != nil && *maxItems > 0 {
		p.n = min(p.n, int(*maxItems))
	}
	b, err := base64.RawURLEncoding.DecodeString(awsapi.Val(markerIn))
	if err != nil || len(b) > 512 {
		return p, invalid("Invalid marker.")
	}
	p.after = string(b)
	return p, nil
}

// partsOf reads what a listing of a function's versions, aliases or the like
// needs: the function, and the page that is asked for.
func (s *Service) partsOf(ctx context.Context, name, markerIn *string, maxItems *int32) (key, *function, page, error) {
	k, _, err := s.locate(ctx, name, nil)
	if err != nil {
		return k, nil, page{}, err
	}
	p, err := newPage(markerIn, maxItems)
	if err != nil {
		return k, nil, p, err
	}
	f, _, err := s.load(ctx, k)
	return k, f, p, err
}

// marker makes the opaque name of a position.
func marker(after string) *string {
	return new(base64.RawURLEncoding.EncodeToString([]byte(after)))
}

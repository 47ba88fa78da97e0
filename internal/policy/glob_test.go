package policy

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestResource_Match follows the rules of the Resource element: wildcards
// stay in their ARN segment, but a * that ends one may run on.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
func TestResource_Match(t *testing.T) {
	for _, tc := range []struct {
		pattern, resource string
		want              bool
	}{
		{"*", "anything", true},
		{"*", "", true},
		{"arn:aws:s3:::b", "arn:aws:s3:::b", true},
		{"arn:aws:s3:::b", "arn:aws:s3:::B", false},
		{"arn:aws:s3:::b", "arn:aws:s3:::bb", false},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b/a/b/c", true},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b/", true},
		{"arn:aws:s3:::b/*", "arn:aws:s3:::b", false},
		{"arn:aws:s3:::b/*.jpg", "arn:aws:s3:::b/x:y.jpg", true},
		{"arn:aws:s3:::b/?", "arn:aws:s3:::b/ä", true},
		{"arn:aws:s3:::b/?", "arn:aws:s3:::b/ab", false},
		{"arn:aws:s3:::b/**", "arn:aws:s3:::b/ab", true},
		{"arn:aws:s3:::b/*a*b*c", "arn:aws:s3:::b/xxaxxbxxbxxc", true},
		{"arn:aws:s3:::b/*a*b*c", "arn:aws:s3:::b/xxaxxcxxb", false},
		{"arn:aws:lambda:*:111122223333:function:f", "arn:aws:lambda:eu-west-1:111122223333:function:f", true},
		{"arn:aws:lambda:eu-*-1:111122223333:function:f", "arn:aws:lambda:eu-west-1:111122223333:function:f", true},
		{"arn:aws:lambda:eu-*-1:111122223333:function:f", "arn:aws:lambda:eu-west-1:x-1:111122223333:function:f", false},
		{"arn:aws:lambda:eu-west-?:111122223333:function:f", "arn:aws:lambda:eu-west-::111122223333:function:f", false},
		{"arn:aws:lambda:us-east-1:1111*:function:f", "arn:aws:lambda:us-east-1:111122223333:function:f", true},
		{"arn:aws:iam::*", "arn:aws:iam::111122223333:user/alice", true},
		{"arn:aws:logs:*", "arn:aws:logs:us-east-1:111122223333:log-group:g:log-stream:s", true},
		{"arn:aws:lambda:us-east-1:111122223333:function:f:*", "arn:aws:lambda:us-east-1:111122223333:function:f", false},
		{"arn:aws:lambda:us-east-1:111122223333:function:f:*", "arn:aws:lambda:us-east-1:111122223333:function:f:1", true},
		{"arn:aws:lambda:us-east-1:111122223333:function:f*", "arn:aws:lambda:us-east-1:111122223333:function:ff:live", true},
	} {
		g, ok := compileGlob(tc.pattern, globRule{wild: true, variables: true, segments: true})
		if !ok {
			t.Fatalf("%s does not compile", tc.pattern)
		}
		if got := g.match(tc.resource, nil); got != tc.want {
			t.Errorf("%s on %s = %v, want %v", tc.pattern, tc.resource, got, tc.want)
		}
	}
}

// reference is the obvious, exponential, matcher.
func reference(p, s string, colon bool) bool {
	if p == "" {
		return s == ""
	}
	switch p[0] {
	case '*':
		for i := 0; i <= len(s); i++ {
			if reference(p[1:], s[i:], colon) {
				return true
			}
			if i < len(s) && s[i] == ':' && !colon {
				return false
			}
		}
		return false
	case '?':
		return s != "" && (colon || s[0] != ':') && reference(p[1:], s[1:], colon)
	}
	return s != "" && s[0] == p[0] && reference(p[1:], s[1:], colon)
}

func TestGlob_EqualsReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringMatching(`[ab:*?]{0,10}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab:]{0,12}`).Draw(t, "string")
		g, _ := compileGlob(p, globRule{wild: true})
		if got, want := g.match(s, nil), reference(p, s, true); got != want {
			t.Fatalf("%q on %q = %v", p, s, got)
		}
		// Fewer than five colons in the pattern: all of it is header.
		if strings.Count(p, ":") < 5 {
			g, _ = compileGlob(p, globRule{wild: true, segments: true, strict: true})
			if got, want := g.match(s, nil), reference(p, s, false); got != want {
				t.Fatalf("confined %q on %q = %v", p, s, got)
			}
		}
	})
}

// A pattern made to backtrack ends in time that grows with the product of the
// lengths, not with their power.
func TestGlob_HostilePatternEnds(t *testing.T) {
	p := strings.Repeat("a*", 1000) + "b"
	s := strings.Repeat("a", 5000)
	for _, rule := range []globRule{{wild: true}, {wild: true, segments: true, strict: true}} {
		g, _ := compileGlob(p, rule)
		if g.match(s, nil) {
			t.Error("matched")
		}
	}
}

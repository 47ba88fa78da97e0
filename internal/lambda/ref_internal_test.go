package lambda

import (
	"regexp"
	"testing"

	"davy/internal/awsapi"
)

func TestLocate(t *testing.T) {
	const account, region = "000000000000", "us-east-1"
	own := key{account, region, "fn"}
	for _, tc := range []struct {
		name, qualifier string
		key             key
		want            string // qualifier
		code            string
	}{
		{"fn", "", own, "", ""},
		{"fn", "7", own, "7", ""},
		{"fn:live", "", own, "live", ""},
		{"fn:live", "live", own, "live", ""},
		{"fn:$LATEST", "", own, Latest, ""},
		{"function:fn", "", own, "", ""},
		{"123456789012:fn", "", key{"123456789012", region, "fn"}, "", ""},
		{"123456789012:function:fn:3", "", key{"123456789012", region, "fn"}, "3", ""},
		{"arn:aws:lambda:us-east-1:123456789012:function:fn", "", key{"123456789012", region, "fn"}, "", ""},
		{"arn:aws:lambda:us-east-1:000000000000:function:fn:live", "", own, "live", ""},
		{"fn:live", "1", key{}, "", "InvalidParameterValueException"},
		{"fn", "a b", key{}, "", "ValidationException"},
		{"arn:aws:lambda:eu-west-1:000000000000:function:fn", "", key{}, "", "ResourceNotFoundException"},
		{"", "", key{}, "", "ValidationException"},
		{"fn:", "", key{}, "", "ValidationException"},
		{":live", "", key{}, "", "ValidationException"},
		{"a/b", "", key{}, "", "ValidationException"},
		{"fn:a:b", "", key{}, "", "ValidationException"},
		{"arn:aws:s3:::fn", "", key{}, "", "ValidationException"},
		{"arn:aws:lambda:us-east-1:1:function:fn", "", key{}, "", "ValidationException"},
		{"arn:aws:lambda::000000000000:function:fn", "", key{}, "", "ValidationException"},
		{"arn:aws:lambda:us-east-1:000000000000:layer:fn", "", key{}, "", "ValidationException"},
	} {
		t.Run(tc.name+" "+tc.qualifier, func(t *testing.T) {
			k, qualifier, err := locate(account, region, tc.name, tc.qualifier)
			if tc.code != "" {
				modelled, ok := err.(awsapi.Error) //nolint:errorlint // the error itself must be AWS's
				if !ok || modelled.ErrorCode() != tc.code {
					t.Fatalf("error = %v; want %s", err, tc.code)
				}
				return
			}
			if err != nil || k != tc.key || qualifier != tc.want {
				t.Fatalf("locate = %v %q, %v; want %v %q", k, qualifier, err, tc.key, tc.want)
			}
		})
	}
}

func TestParseRef_AllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { parseRef("arn:aws:lambda:us-east-1:123456789012:function:fn:live") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The model's pattern, with any region and without dots in names.
var pattern = regexp.MustCompile(`^((arn:aws[a-zA-Z0-9_-]*:lambda:[a-zA-Z0-9_-]+:\d{12}:function:)|((\d{12}:)?(function:)?))([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]{1,128}))?$`)

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"fn", "fn:live", "fn:$LATEST", "123456789012:fn", "function:fn:1", "function", "123456789012", "arn:aws:lambda:us-east-1:123456789012:function:fn:live", "arn:aws:lambda:::function:", "::", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := parseRef(s)
		if !ok {
			return
		}
		if !pattern.MatchString(s) {
			t.Fatalf("%q was accepted as %+v", s, r)
		}
		if !isName(r.name) || r.qualifier != "" && !isQualifier(r.qualifier) || r.account != "" && !isAccount(r.account) {
			t.Fatalf("%q = %+v", s, r)
		}
	})
}

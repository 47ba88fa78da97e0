package authz

import (
	"strings"
	"testing"

	"davy/api/s3api"
	"davy/internal/policy"
)

// Whoever copies an object with tags reads and writes them too, unless the
// request gives it others.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
func TestCopyObject_TagsNeedTheirPermissions(t *testing.T) {
	statements := map[string]string{
		"read":  `{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],"Resource":"arn:aws:s3:::source/*"}`,
		"write": `{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::target/*"}`,
		"tags":  `{"Effect":"Allow","Action":["s3:GetObjectTagging","s3:GetObjectVersionTagging"],"Resource":"arn:aws:s3:::source/*"}`,
		"tag":   `{"Effect":"Allow","Action":"s3:PutObjectTagging","Resource":"arn:aws:s3:::target/*"}`,
	}
	for _, tc := range []struct {
		name, source, directive, have string
		refused                       string // the action; empty: none
	}{
		{"no tags", "source/plain", "", "read write", ""},
		{"tags", "source/tagged", "", "read write tags tag", ""},
		{"tags, not readable", "source/tagged", "", "read write tag", "s3:GetObjectTagging"},
		{"tags, not writable", "source/tagged", "COPY", "read write tags", "s3:PutObjectTagging"},
		{"other tags instead", "source/tagged", "REPLACE", "read write", ""},
		{"a version with tags", "source/plain?versionId=v1", "", "read write", "s3:GetObjectVersionTagging"},
		{"the same, in another spelling", "source/plain?version%49d=%761", "", "read write", "s3:GetObjectVersionTagging"},
		{"a version without", "source/tagged?versionId=v0", "", "read write", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var have []string
			for name := range strings.FieldsSeq(tc.have) {
				have = append(have, statements[name])
			}
			w := &world{
				grants:  map[string]policy.Grants{dev: identity(t, strings.Join(have, ","))},
				owners:  map[string]string{"arn:aws:s3:::source": account, "arn:aws:s3:::target": account},
				objects: map[string]map[string]string{"source/tagged?": {"a": "b"}, "source/plain?v1": {"a": "b"}},
			}
			in := &s3api.CopyObjectRequest{Bucket: new("target"), Key: new("k"), CopySource: &tc.source}
			if tc.directive != "" {
				in.TaggingDirective = new(s3api.TaggingDirective(tc.directive))
			}
			got := answer(t, ask(t.Context(), w.authorizer(t), userPrincipal("dev"), "s3", "CopyObject", in))
			if tc.refused == "" && got != "allowed" || tc.refused != "" && !strings.Contains(got, "to perform: "+tc.refused+" on") {
				t.Fatalf("%s; want the refusal of %q", got, tc.refused)
			}
		})
	}
}

func TestExistingObjectTag(t *testing.T) {
	w := &world{
		grants: map[string]policy.Grants{dev: identity(t, `{"Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],"Resource":"*","Condition":{"StringEquals":{"s3:ExistingObjectTag/class":"public"}}}`)},
		owners: map[string]string{"arn:aws:s3:::b": account},
		objects: map[string]map[string]string{
			"b/open?": {"class": "public"}, "b/shut?": {"class": "secret"}, "b/shut?v1": {"class": "public"},
		},
	}
	for _, tc := range []struct{ key, version, want string }{
		{"open", "", "allowed"},
		{"shut", "", "403"},
		{"missing", "", "403"},
		{"shut", "v1", "allowed"},
		{"open", "v1", "403"},
	} {
		in := &s3api.GetObjectRequest{Bucket: new("b"), Key: &tc.key}
		if tc.version != "" {
			in.VersionId = &tc.version
		}
		if got := answer(t, ask(t.Context(), w.authorizer(t), userPrincipal("dev"), "s3", "GetObject", in)); !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s %s: %s", tc.key, tc.version, got)
		}
	}
}

// An explained decision is the one that a request would get.
func TestExplain(t *testing.T) {
	w := &world{
		grants: map[string]policy.Grants{dev: identity(t, `{"Sid":"Home","Effect":"Allow","Action":"s3:ListBucket","Resource":"*","Condition":{"StringLike":{"s3:prefix":"home/*"}}}`)},
		policies: map[string]*policy.Document{function: parse(t, policy.Resource,
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction","Resource":"`+function+`","Condition":{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::b"}}}]}`)},
		owners: map[string]string{"arn:aws:s3:::b": account, function: account},
	}
	a := w.authorizer(t)
	for _, tc := range []struct {
		ask  Question
		want string
	}{
		{Question{dev, "s3:ListBucket", "arn:aws:s3:::b", map[string][]string{"S3:Prefix": {"home/x"}}}, `Allow statement 1 "Home" in identity-based policy "inline"`},
		{Question{dev, "s3:ListBucket", "arn:aws:s3:::b", nil}, "no identity-based policy allows it"},
		{Question{"s3.amazonaws.com", "lambda:InvokeFunction", function, map[string][]string{"aws:SourceArn": {"arn:aws:s3:::b"}}}, `Allow statement 1 in resource-based policy "policy of ` + function + `"`},
		{Question{"s3.amazonaws.com", "lambda:InvokeFunction", function, nil}, "no resource-based policy allows it"},
		{Question{"", "s3:GetObject", "arn:aws:s3:::b/k", nil}, "no resource-based policy allows it"},
	} {
		d, err := a.Explain(t.Context(), tc.ask)
		if err != nil || d.Deciding() != tc.want {
			t.Errorf("%+v: %s %v, want %s", tc.ask, d.Deciding(), err, tc.want)
		}
	}
	w.broken = errBroken
	if d, err := a.Explain(t.Context(), Question{dev, "s3:ListBucket", "arn:aws:s3:::b", nil}); err == nil || d.Allowed {
		t.Error("a store that fails explains something")
	}
}

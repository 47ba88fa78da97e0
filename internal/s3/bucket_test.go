package s3

import (
	"context"
	"slices"
	"strings"
	"testing"

	"davy/api/s3api"
	"davy/internal/awsapi"
)

func TestValidBucketName(t *testing.T) {
	for name, want := range map[string]bool{
		"abc": true, "my-bucket.1": true, "1abc": true, strings.Repeat("a", 63): true, "source-2026": true,
		"ab": false, "": false, strings.Repeat("a", 64): false, "Abc": false, "a_b": false, "-abc": false, "abc-": false, ".abc": false,
		"abc.": false, "a..b": false, "192.168.5.4": false, "xn--abc": false, "sthree-abc": false, "abc-s3alias": false, "abc--ol-s3": false,
		"abc.mrap": false, "abc--x-s3": false, "abc--table-s3": false, "console": false, "a b": false, "a/b": false, "ä-bucket": false,
		"console-1": true, "1.2.3": true,
	} {
		if got := validBucketName(name); got != want {
			t.Errorf("validBucketName(%q) = %v", name, got)
		}
	}
}

func TestLocation(t *testing.T) {
	for _, tc := range []struct{ endpoint, constraint, want, code, message string }{
		{"us-east-1", "", "us-east-1", "", ""},
		{"", "", "us-east-1", "", ""},
		{"us-east-1", "eu-west-1", "eu-west-1", "", ""},
		{"us-east-1", "EU", "eu-west-1", "", ""},
		{"eu-west-1", "EU", "eu-west-1", "", ""},
		{"eu-west-1", "eu-west-1", "eu-west-1", "", ""},
		{"mars-north-1", "mars-north-1", "mars-north-1", "", ""},
		{"us-east-1", "us-east-1", "", "InvalidLocationConstraint", "The specified location-constraint is not valid"},
		{"eu-west-1", "not a region", "", "InvalidLocationConstraint", "The specified location-constraint is not valid"},
		{"eu-west-1", "", "", "IllegalLocationConstraintException", "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to."},
		{"eu-west-1", "eu-west-2", "", "IllegalLocationConstraintException", "The eu-west-2 location constraint is incompatible for the region specific endpoint this request was sent to."},
	} {
		t.Run(tc.endpoint+" "+tc.constraint, func(t *testing.T) {
			got, err := location(tc.endpoint, tc.constraint)
			if e := wantCode(t, err, tc.code); e != nil && e.Message != tc.message {
				t.Errorf("message %q", e.Message)
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestCreateBucket_NameTaken(t *testing.T) {
	w := newWorld(t)
	create := func() error {
		_, err := w.CreateBucket(w.ctx(), &s3api.CreateBucketRequest{Bucket: new("mine")})
		return err
	}
	wantCode(t, create(), "")
	wantCode(t, create(), "") // in us-east-1 the owner may repeat it
	w.put("mine", "kept", "x")
	wantCode(t, create(), "")
	if _, err := w.get("mine", "kept"); err != nil {
		t.Error("repeating CreateBucket lost an object")
	}

	w.call.Account = "444455556666"
	if e := wantCode(t, create(), "BucketAlreadyExists"); e.Status != 409 ||
		e.Message != "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again." {
		t.Errorf("%+v", e)
	}

	w.call.Account, w.call.Region = testAccount, "eu-west-1"
	in := &s3api.CreateBucketRequest{Bucket: new("there"), CreateBucketConfiguration: &s3api.CreateBucketConfiguration{LocationConstraint: new(s3api.BucketLocationConstraint("eu-west-1"))}}
	out, err := w.CreateBucket(w.ctx(), in)
	if err != nil || *out.Location != "http://there.s3.amazonaws.com/" {
		t.Fatal(out, err)
	}
	_, err = w.CreateBucket(w.ctx(), in)
	if e := wantCode(t, err, "BucketAlreadyOwnedByYou"); e.Message != "Your previous request to create the named bucket succeeded and you already own it." {
		t.Errorf("%+v", e)
	}
	_, err = w.CreateBucket(w.ctx(), &s3api.CreateBucketRequest{Bucket: new("Bad_Name")})
	if e := wantCode(t, err, "InvalidBucketName"); e.Message != "The specified bucket is not valid." || e.Fields["BucketName"] != "Bad_Name" {
		t.Errorf("%+v", e)
	}
}

func TestDeleteBucket(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	w.put("bkt", "a", "x")
	del := &s3api.DeleteBucketRequest{Bucket: new("bkt")}
	_, err := w.DeleteBucket(w.ctx(), del)
	if e := wantCode(t, err, "BucketNotEmpty"); e.Message != "The bucket you tried to delete is not empty" || e.Fields["BucketName"] != "bkt" {
		t.Errorf("%+v", e)
	}
	if _, err := w.DeleteObject(w.ctx(), &s3api.DeleteObjectRequest{Bucket: new("bkt"), Key: new("a")}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.DeleteBucket(w.ctx(), del); err != nil {
		t.Fatal(err)
	}
	_, err = w.DeleteBucket(w.ctx(), del)
	wantCode(t, err, "NoSuchBucket")
	_, err = w.HeadBucket(w.ctx(), &s3api.HeadBucketRequest{Bucket: new("bkt")})
	wantCode(t, err, "NoSuchBucket")
}

func TestExpectedBucketOwner(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	_, err := w.HeadBucket(w.ctx(), &s3api.HeadBucketRequest{Bucket: new("bkt"), ExpectedBucketOwner: new(testAccount)})
	wantCode(t, err, "")
	_, err = w.HeadBucket(w.ctx(), &s3api.HeadBucketRequest{Bucket: new("bkt"), ExpectedBucketOwner: new("999999999999")})
	if e := wantCode(t, err, "AccessDenied"); e.Status != 403 {
		t.Errorf("status %d", e.Status)
	}
	in := putRequest("bkt", "a", "x")
	in.ExpectedBucketOwner = new("999999999999")
	_, err = w.PutObject(w.ctx(), in)
	wantCode(t, err, "AccessDenied")
}

func TestHeadBucketAndLocation(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("here")
	conf := &s3api.CreateBucketConfiguration{LocationConstraint: new(s3api.BucketLocationConstraint("ap-south-1"))}
	if _, err := w.CreateBucket(w.ctx(), &s3api.CreateBucketRequest{Bucket: new("there"), CreateBucketConfiguration: conf}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"here": "us-east-1", "there": "ap-south-1"} {
		h, err := w.HeadBucket(w.ctx(), &s3api.HeadBucketRequest{Bucket: &name})
		if err != nil || *h.BucketRegion != want {
			t.Errorf("%s: region %v, %v", name, h, err)
		}
		l, err := w.GetBucketLocation(w.ctx(), &s3api.GetBucketLocationRequest{Bucket: &name})
		if err != nil || (l.LocationConstraint == nil) != (want == "us-east-1") {
			t.Errorf("%s: location %v, %v", name, l, err)
		}
	}
}

func TestListBuckets(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"b-two", "a-one", "b-one", "c-one"} {
		w.bucketNamed(name)
	}
	w.call.Account = "444455556666"
	w.bucketNamed("b-theirs")
	w.call.Account = testAccount
	for _, tc := range []struct {
		prefix string
		page   int32
		want   []string
	}{
		{"", 0, []string{"a-one", "b-one", "b-two", "c-one"}},
		{"b-", 0, []string{"b-one", "b-two"}},
		{"", 1, []string{"a-one", "b-one", "b-two", "c-one"}},
		{"", 3, []string{"a-one", "b-one", "b-two", "c-one"}},
		{"", 4, []string{"a-one", "b-one", "b-two", "c-one"}},
	} {
		var got []string
		in := &s3api.ListBucketsRequest{Prefix: optional(tc.prefix)}
		if tc.page > 0 {
			in.MaxBuckets = &tc.page
		}
		for {
			out, err := w.ListBuckets(w.ctx(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range out.Buckets {
				got = append(got, *b.Name)
			}
			if in.ContinuationToken = out.ContinuationToken; out.ContinuationToken == nil {
				break
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("prefix %q, pages of %d: %q, want %q", tc.prefix, tc.page, got, tc.want)
		}
	}
	_, err := w.ListBuckets(w.ctx(), &s3api.ListBucketsRequest{ContinuationToken: new("!!")})
	wantCode(t, err, "InvalidArgument")
	_, err = w.ListBuckets(w.ctx(), &s3api.ListBucketsRequest{MaxBuckets: new(int32(0))})
	wantCode(t, err, "InvalidArgument")
}

func TestBucket_ForAuthorisation(t *testing.T) {
	w := newWorld(t)
	if _, ok, err := w.Bucket(t.Context(), "bkt"); ok || err != nil {
		t.Fatal(ok, err)
	}
	w.bucketNamed("bkt")
	const private = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::444455556666:root"},"Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*"}]}`
	put := func(document string) error {
		_, err := w.PutBucketPolicy(w.ctx(), &s3api.PutBucketPolicyRequest{Bucket: new("bkt"), Policy: &document})
		return err
	}
	wantCode(t, put(private), "")
	info, ok, err := w.Bucket(t.Context(), "bkt")
	if !ok || err != nil || info.Owner != testAccount || info.Policy != private || info.Region != "us-east-1" {
		t.Errorf("%+v %v %v", info, ok, err)
	}
	const public = `{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*"}}`
	wantCode(t, put(public), "AccessDenied")
	wantCode(t, put("not json"), "MalformedPolicy")
	wantCode(t, put(`{"Broken":1}`), "MalformedPolicy")
	wantCode(t, put("{"+strings.Repeat(" ", maxPolicy)), "PolicyTooLarge")
	if _, err := w.PutPublicAccessBlock(w.ctx(), &s3api.PutPublicAccessBlockRequest{
		Bucket: new("bkt"), PublicAccessBlockConfiguration: &s3api.PublicAccessBlockConfiguration{BlockPublicAcls: new(true)},
	}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, put(public), "")
	stranger := awsapi.WithCall(t.Context(), &awsapi.Call{Principal: awsapi.Principal{Account: "444455556666"}})
	if info, _, _ = w.Bucket(stranger, "bkt"); info.Policy != public {
		t.Errorf("%+v", info)
	}
	if _, err := w.PutPublicAccessBlock(w.ctx(), &s3api.PutPublicAccessBlockRequest{
		Bucket: new("bkt"), PublicAccessBlockConfiguration: &s3api.PublicAccessBlockConfiguration{RestrictPublicBuckets: new(true)},
	}); err != nil {
		t.Fatal(err)
	}
	for ctx, want := range map[context.Context]string{stranger: "", t.Context(): "", w.ctx(): public} {
		if info, _, _ := w.Bucket(ctx, "bkt"); info.Policy != want {
			t.Errorf("restricted: policy %q, want %q", info.Policy, want)
		}
	}
	if _, err := w.DeleteBucketPolicy(w.ctx(), &s3api.DeleteBucketPolicyRequest{Bucket: new("bkt")}); err != nil {
		t.Fatal(err)
	}
	_, err = w.GetBucketPolicy(w.ctx(), &s3api.GetBucketPolicyRequest{Bucket: new("bkt")})
	if e := wantCode(t, err, "NoSuchBucketPolicy"); e.Message != "The bucket policy does not exist" {
		t.Errorf("%+v", e)
	}
}

func TestPublicPolicy(t *testing.T) {
	for statement, want := range map[string]bool{
		`{"Effect":"Allow","Principal":"*"}`:                                                                         true,
		`{"Effect":"Allow","Principal":{"AWS":"*"}}`:                                                                 true,
		`{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::111122223333:root","*"]}}`:                              true,
		`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"}}`:                                    false,
		`{"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"}}`:                                      false,
		`{"Effect":"Deny","Principal":"*"}`:                                                                          false,
		`{"Effect":"Allow","NotPrincipal":{"AWS":"x"}}`:                                                              true,
		`{"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:SourceVpc":"vpc-1"}}}`:                  false,
		`{"Effect":"Allow","Principal":"*","Condition":{"StringLike":{"aws:SourceVpc":"vpc-*"}}}`:                    true,
		`{"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:UserAgent":"x"}}}`:                      true,
		`{"Effect":"Allow","Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}}`:                  true,
		`{"Effect":"Allow","Principal":"*","Condition":{"IpAddress":{"aws:SourceIp":["203.0.113.0/24"]}}}`:           false,
		`{"Effect":"Allow","Principal":"*","Condition":{"StringNotEquals":{"aws:PrincipalAccount":"111122223333"}}}`: true,
		`{"Effect":"Allow","Principal":"*","Condition":{"StringEquals":{"aws:PrincipalArn":"${aws:PrincipalArn}"}}}`: true,
	} {
		if got := publicPolicy(`{"Statement":[` + statement + `]}`); got != want {
			t.Errorf("%s: public %v, want %v", statement, got, want)
		}
	}
}

func TestSettings_RealOrRefused(t *testing.T) {
	w := newWorld(t)
	w.bucketNamed("bkt")
	w.put("bkt", "k", "x")
	name := new("bkt")
	call := func(_ any, err error) error { return err }
	for what, tc := range map[string]struct {
		err     error
		code    string
		message string
	}{
		"bucket acl":           {call(w.PutBucketAcl(w.ctx(), &s3api.PutBucketAclRequest{Bucket: name})), "AccessControlListNotSupported", "The bucket does not allow ACLs"},
		"object acl":           {call(w.PutObjectAcl(w.ctx(), &s3api.PutObjectAclRequest{Bucket: name, Key: new("k")})), "AccessControlListNotSupported", "The bucket does not allow ACLs"},
		"get tags":             {call(w.GetBucketTagging(w.ctx(), &s3api.GetBucketTaggingRequest{Bucket: name})), "NoSuchTagSet", "The TagSet does not exist"},
		"get cors":             {call(w.GetBucketCors(w.ctx(), &s3api.GetBucketCorsRequest{Bucket: name})), "NoSuchCORSConfiguration", "The CORS configuration does not exist"},
		"put cors":             {call(w.PutBucketCors(w.ctx(), &s3api.PutBucketCorsRequest{Bucket: name})), "NotImplemented", "The operation PutBucketCors is not implemented."},
		"get lifecycle":        {call(w.GetBucketLifecycleConfiguration(w.ctx(), &s3api.GetBucketLifecycleConfigurationRequest{Bucket: name})), "NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"},
		"put encryption":       {call(w.PutBucketEncryption(w.ctx(), &s3api.PutBucketEncryptionRequest{Bucket: name})), "NotImplemented", "The operation PutBucketEncryption is not implemented."},
		"get encryption":       {call(w.GetBucketEncryption(w.ctx(), &s3api.GetBucketEncryptionRequest{Bucket: name})), "ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found"},
		"ownership":            {call(w.PutBucketOwnershipControls(w.ctx(), ownership("ObjectWriter"))), "NotImplemented", "Davy has no ACLs: buckets are BucketOwnerEnforced."},
		"enforced":             {call(w.PutBucketOwnershipControls(w.ctx(), ownership(ownerEnforced))), "", ""},
		"versioning":           {call(w.PutBucketVersioning(w.ctx(), &s3api.PutBucketVersioningRequest{Bucket: name, VersioningConfiguration: &s3api.VersioningConfiguration{}})), "IllegalVersioningConfigurationException", "The Versioning element must be specified"},
		"create with acl":      {call(w.CreateBucket(w.ctx(), &s3api.CreateBucketRequest{Bucket: new("pub"), ACL: new(s3api.BucketCannedACL("public-read"))})), "InvalidBucketAclWithObjectOwnership", "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"},
		"create with a lock":   {call(w.CreateBucket(w.ctx(), &s3api.CreateBucketRequest{Bucket: new("pub"), ObjectLockEnabledForBucket: new(true)})), "NotImplemented", "A header you provided implies functionality that is not implemented"},
		"create private":       {call(w.CreateBucket(w.ctx(), &s3api.CreateBucketRequest{Bucket: new("priv"), ACL: new(s3api.BucketCannedACL("private"))})), "", ""},
		"no bucket, no answer": {call(w.GetBucketCors(w.ctx(), &s3api.GetBucketCorsRequest{Bucket: new("nobucket")})), "NoSuchBucket", "The specified bucket does not exist"},
	} {
		t.Run(what, func(t *testing.T) {
			if e := wantCode(t, tc.err, tc.code); e != nil && e.Message != tc.message {
				t.Errorf("message %q, want %q", e.Message, tc.message)
			}
		})
	}
	if out, err := w.GetBucketAcl(w.ctx(), &s3api.GetBucketAclRequest{Bucket: name}); err != nil || *out.Grants[0].Permission != "FULL_CONTROL" || *out.Owner.ID != canonicalID(testAccount) {
		t.Errorf("acl %v, %v", out, err)
	}
	if out, err := w.GetPublicAccessBlock(w.ctx(), &s3api.GetPublicAccessBlockRequest{Bucket: name}); err != nil || !awsapi.Val(out.PublicAccessBlockConfiguration.BlockPublicPolicy) {
		t.Errorf("public access block %v, %v", out, err)
	}
	if _, err := w.DeletePublicAccessBlock(w.ctx(), &s3api.DeletePublicAccessBlockRequest{Bucket: name}); err != nil {
		t.Fatal(err)
	}
	_, err := w.GetPublicAccessBlock(w.ctx(), &s3api.GetPublicAccessBlockRequest{Bucket: name})
	wantCode(t, err, "NoSuchPublicAccessBlockConfiguration")
}

func ownership(o string) *s3api.PutBucketOwnershipControlsRequest {
	return &s3api.PutBucketOwnershipControlsRequest{
		Bucket: new("bkt"), OwnershipControls: &s3api.OwnershipControls{Rules: []s3api.OwnershipControlsRule{{ObjectOwnership: new(s3api.ObjectOwnership(o))}}},
	}
}

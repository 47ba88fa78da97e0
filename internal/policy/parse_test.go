package policy

import (
	"errors"
	"strings"
	"testing"
)

// statement wraps members in a document of version 2012-10-17.
func statement(members string) string {
	return `{"Version":"2012-10-17","Statement":[{` + members + `}]}`
}

const allowS3 = `"Effect":"Allow","Action":"s3:*","Resource":"*"`

func TestParse_Refuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind Kind
		src  string
		want string
	}{
		// The texts of IAM's MalformedPolicyDocument.
		{"no JSON", Identity, `{`, "Syntax errors in policy."},
		{"no object", Identity, `[]`, "Syntax errors in policy."},
		{"trailing text", Identity, statement(allowS3) + `x`, "Syntax errors in policy."},
		{"duplicate member", Identity, statement(`"Effect":"Deny",` + allowS3), "Syntax errors in policy."},
		{"duplicate operator", Identity, statement(allowS3 + `,"Condition":{"Bool":{"aws:a":"true"},"Bool":{"aws:b":"true"}}`), "Syntax errors in policy."},
		{"invalid UTF-8", Identity, statement(allowS3 + ",\"Sid\":\"\xff\""), "Syntax errors in policy."},
		{"too deep", Identity, strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), "Syntax errors in policy."},
		{"unknown element", Identity, `{"Version":"2012-10-17","Statements":[]}`, "Syntax errors in policy."},
		{"unknown statement element", Identity, statement(allowS3 + `,"effect":"Deny"`), "Syntax errors in policy."},
		{"unknown version", Identity, `{"Version":"2012-10-18","Statement":[{` + allowS3 + `}]}`, "Syntax errors in policy."},
		{"no statement", Identity, `{"Version":"2012-10-17"}`, "Syntax errors in policy."},
		{"empty statement", Identity, `{"Version":"2012-10-17","Statement":[]}`, "Syntax errors in policy."},
		{"no effect", Identity, statement(`"Action":"s3:*","Resource":"*"`), "Syntax errors in policy."},
		{"effect in lower case", Identity, statement(`"Effect":"allow","Action":"s3:*","Resource":"*"`), "The policy failed legacy parsing"},
		{"both actions", Identity, statement(allowS3 + `,"NotAction":"s3:*"`), "Syntax errors in policy."},
		{"action is a number", Identity, statement(`"Effect":"Allow","Action":1,"Resource":"*"`), "Syntax errors in policy."},
		{"null", Identity, statement(`"Effect":"Allow","Action":null,"Resource":"*"`), "Syntax errors in policy."},
		{"unknown operator", Identity, statement(allowS3 + `,"Condition":{"StringIs":{"aws:a":"b"}}`), "Syntax errors in policy."},
		{"bad date", Identity, statement(allowS3 + `,"Condition":{"DateLessThan":{"aws:CurrentTime":"soon"}}`), "The policy failed legacy parsing"},
		{"open variable", Identity, statement(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username"`), "Syntax errors in policy."},
		{"principal", Identity, statement(allowS3 + `,"Principal":"*"`), "Policy document should not specify a principal."},
		{"old version of a managed policy", Managed, `{"Version":"2008-10-17","Statement":[{` + allowS3 + `}]}`, "Policy document must be version 2012-10-17 or greater."},
		{"no version of a managed policy", Managed, `{"Statement":[{` + allowS3 + `}]}`, "Policy document must be version 2012-10-17 or greater."},
		{"same Sid", Identity, `{"Statement":[{"Sid":"a",` + allowS3 + `},{"Sid":"a",` + allowS3 + `}]}`, "Statement IDs (SID) in a single policy must be unique."},
		{"odd Sid", Identity, statement(`"Sid":"a b",` + allowS3), "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"},
		{"no action", Identity, statement(`"Effect":"Allow","Resource":"*"`), "Policy statement must contain actions."},
		{"empty action", Identity, statement(`"Effect":"Allow","Action":[],"Resource":"*"`), "Policy statement must contain actions."},
		{"no resource", Identity, statement(`"Effect":"Allow","Action":"s3:*"`), "Policy statement must contain resources."},
		{"action without vendor", Identity, statement(`"Effect":"Allow","Action":"GetObject","Resource":"*"`), "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."},
		{"two colons", Identity, statement(`"Effect":"Allow","Action":"s3:a:b","Resource":"*"`), "Actions/Condition can contain only one colon."},
		{"bad vendor", Identity, statement(`"Effect":"Allow","Action":"s*3:Get","Resource":"*"`), "Vendor s*3 is not valid"},
		{"no ARN", Identity, statement(`"Effect":"Allow","Action":"s3:*","Resource":"bucket"`), `Resource bucket must be in ARN format or "*".`},
		{"other partition", Identity, statement(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws-cn:s3:::b"`), `Partition "aws-cn" is not valid for resource "arn:aws-cn:s3:::b".`},
		{"region of a bucket", Identity, statement(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:us-east-1::b"`), "Resource arn:aws:s3:us-east-1::b can not contain region information."},
		{"region of IAM", Identity, statement(`"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam:us-east-1:111122223333:user/a"`), "IAM resource arn:aws:iam:us-east-1:111122223333:user/a cannot contain region information."},
		{"IAM path", Identity, statement(`"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::111122223333:alice"`), `IAM resource path must either be "*" or start with user/, federated-user/, role/, group/, instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, access-report/.`},
		{"vendor pattern", Identity, statement(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s*:::b"`), "Resource vendor must be fully qualified and cannot contain regexes."},
		{"too few parts", Identity, statement(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:b"`), "The policy failed legacy parsing"},

		// The texts of S3's MalformedPolicy.
		{"bucket: no JSON", Resource, `hello`, "Policies must be valid JSON and the first byte must be '{'"},
		{"bucket: no principal", Resource, statement(allowS3), "Missing required field Principal"},
		{"bucket: no action", Resource, statement(`"Effect":"Allow","Principal":"*","Resource":"*"`), "Missing required field Action"},
		{"bucket: no resource", Resource, statement(`"Effect":"Allow","Principal":"*","Action":"s3:*"`), "Missing required field Resource"},
		{"bucket: no effect", Resource, statement(`"Principal":"*","Action":"s3:*","Resource":"*"`), "Missing required field Effect"},
		{"bucket: bad effect", Resource, statement(`"Effect":"Permit","Principal":"*","Action":"s3:*","Resource":"*"`), "Invalid effect: Permit"},
		{"bucket: unknown field", Resource, statement(`"Principals":"*",` + allowS3), "Unknown field Principals"},
		{"bucket: bad principal", Resource, statement(`"Principal":"alice",` + allowS3), "Invalid principal in policy"},
		{"bucket: principal pattern", Resource, statement(`"Principal":{"AWS":"arn:aws:iam::111122223333:user/*"},` + allowS3), "Invalid principal in policy"},
		{"bucket: group", Resource, statement(`"Principal":{"AWS":"arn:aws:iam::111122223333:group/g"},` + allowS3), "Invalid principal in policy"},
		{"bucket: every service", Resource, statement(`"Principal":{"Service":"*"},` + allowS3), "Invalid principal in policy"},
		{"bucket: empty principal", Resource, statement(`"Principal":{},` + allowS3), "Invalid principal in policy"},
		{"bucket: canonical user", Resource, statement(`"Principal":{"CanonicalUser":"79a59df900b949e55d96a1e698fbaced"},` + allowS3), "Invalid principal in policy"},
		{"bucket: all but", Resource, statement(`"NotPrincipal":{"AWS":"111122223333"},` + allowS3), "Allow with NotPrincipal is not allowed."},
		{"bucket: bad action", Resource, statement(`"Effect":"Allow","Principal":"*","Action":"Get","Resource":"*"`), "Policy has invalid action"},
		{"bucket: bad resource", Resource, statement(`"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"bucket"`), "Policy has invalid resource"},
		{"bucket: unknown operator", Resource, statement(`"Principal":"*",` + allowS3 + `,"Condition":{"Like":{"aws:a":"b"}}`), "Invalid Condition type : Like"},

		// The texts of a trust policy.
		{"trust: no JSON", Trust, `{"a"}`, "This policy contains invalid Json"},
		{"trust: resource", Trust, statement(`"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole","Resource":"*"`), "Has prohibited field Resource"},
		{"trust: no principal", Trust, statement(`"Effect":"Allow","Action":"sts:AssumeRole"`), "Missing required field Principal"},
		{"trust: no action", Trust, statement(`"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"}`), "Missing required field Action"},
		{"trust: other action", Trust, statement(`"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"s3:GetObject"`), "AssumeRole policy may only specify STS AssumeRole actions."},
		{"trust: star", Trust, statement(`"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"`), `AssumeRolepolicy contained an invalid principal: "STAR":"*".`},
		{"trust: bad principal", Trust, statement(`"Effect":"Allow","Principal":{"AWS":"alice"},"Action":"sts:AssumeRole"`), `Invalid principal in policy: "AWS":"alice"`},
		{"trust: bad service", Trust, statement(`"Effect":"Allow","Principal":{"Service":"lambda"},"Action":"sts:AssumeRole"`), `Invalid principal in policy: "SERVICE":"lambda"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse(tc.src, tc.kind)
			var malformed *MalformedError
			if !errors.As(err, &malformed) || malformed.Reason != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestParse_Accepts(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind Kind
		src  string
	}{
		{"one statement", Managed, `{"Version":"2012-10-17","Statement":{` + allowS3 + `}}`},
		{"no version inline", Identity, `{"Statement":{` + allowS3 + `}}`},
		{"the oldest version inline", Identity, `{"Version":"2008-10-17","Id":"x","Statement":[{"Sid":"",` + allowS3 + `},{"Sid":"",` + allowS3 + `}]}`},
		{"all of everything", Identity, statement(`"Effect":"Allow","Action":"*","Resource":"*"`)},
		{"scalars in conditions", Identity, statement(allowS3 + `,"Condition":{"Bool":{"aws:SecureTransport":true},"NumericLessThan":{"s3:max-keys":[10,"20"]}}`)},
		{"the rest of an ARN", Identity, statement(`"Effect":"Allow","Action":"logs:*","Resource":["arn:aws:logs:*","arn:aws:iam::*:user/${aws:username}","arn:aws:iam::111122223333:*","arn:aws:s3:us-east-1:111122223333:accesspoint/a"]`)},
		{"any sts action", Trust, statement(`"Effect":"Allow","Principal":{"AWS":"*"},"Action":["sts:AssumeRole","sts:TagSession"]`)},
		{"every kind of principal", Resource, statement(`"Principal":{"AWS":["*","111122223333","arn:aws:iam::111122223333:root","arn:aws:iam::111122223333:user/p/a","arn:aws:iam::111122223333:role/r","arn:aws:sts::111122223333:assumed-role/r/s","arn:aws:sts::111122223333:federated-user/f","AROAEXAMPLE123456789"],"Service":["s3.amazonaws.com"],"Federated":"cognito-identity.amazonaws.com"},` + allowS3)},
	} {
		if _, err := Parse(tc.src, tc.kind); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestContextKeys(t *testing.T) {
	d, err := Parse(statement(`"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::${aws:username}","Condition":{"StringLike":{"s3:Prefix":["${aws:PrincipalTag/team}/*","${aws:username}"]}}`), Identity)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(d.ContextKeys(), " "), "aws:username s3:prefix aws:principaltag/team"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

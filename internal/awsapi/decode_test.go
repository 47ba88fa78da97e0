package awsapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"davy/api/iamapi"
	"davy/api/lambdaapi"
	"davy/api/logsapi"
	"davy/api/s3api"
	"davy/api/stsapi"
	"davy/internal/awsapi"
)

// request is a raw request for a table: "METHOD TARGET", headers, body.
type request struct {
	line    string
	headers map[string]string
	body    string
}

func (q request) build() *http.Request {
	method, target, _ := strings.Cut(q.line, " ")
	r := httptest.NewRequest(method, target, strings.NewReader(q.body))
	for name, value := range q.headers {
		r.Header.Set(name, value)
	}
	return r
}

func logsCall(op, body string) request {
	return request{"POST /", map[string]string{"X-Amz-Target": "Logs_20140328." + op}, body}
}

func form(body string) request {
	return request{"POST /", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, body}
}

// decode runs a request up to the decoded input.
func decode(t *testing.T, svc *awsapi.Service, q request, lim awsapi.Limits) (any, error) {
	t.Helper()
	r := q.build()
	m, err := svc.Match(r, "", lim)
	if err != nil {
		return nil, err
	}
	return m.Decode(t.Context(), r, lim)
}

// show renders the present members of an input.
func show(v any) string {
	var b strings.Builder
	showValue(&b, reflect.ValueOf(v))
	return b.String()
}

func showValue(b *strings.Builder, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		showValue(b, v.Elem())
	case reflect.Interface:
		text, _ := io.ReadAll(v.Interface().(io.Reader))
		fmt.Fprintf(b, "stream(%s)", text)
	case reflect.Struct:
		if s, ok := v.Interface().(fmt.Stringer); ok && v.Type().PkgPath() == "time" {
			b.WriteString(s.String())
			return
		}
		b.WriteString("{")
		sep := ""
		for i := range v.NumField() {
			f := v.Field(i)
			if k := f.Kind(); (k == reflect.Pointer || k == reflect.Slice || k == reflect.Map || k == reflect.Interface) && f.IsNil() {
				continue
			}
			fmt.Fprintf(b, "%s%s:", sep, v.Type().Field(i).Name)
			showValue(b, f)
			sep = " "
		}
		b.WriteString("}")
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(b, "bytes(%s)", v.Bytes())
			return
		}
		b.WriteString("[")
		for i := range v.Len() {
			if i > 0 {
				b.WriteString(" ")
			}
			showValue(b, v.Index(i))
		}
		b.WriteString("]")
	case reflect.String:
		fmt.Fprintf(b, "%q", v.String())
	default:
		fmt.Fprint(b, v)
	}
}

func TestDecode(t *testing.T) {
	lambda := func(line, body string) request { return request{line: line, body: body} }
	for _, tc := range []struct {
		name string
		svc  *awsapi.Service
		req  request
		want string // input, or the error's code
	}{
		{"absent and empty differ", logsapi.Service, logsCall("FilterLogEvents", `{"logGroupName":"g","filterPattern":"","logStreamNames":["s"]}`), `{FilterPattern:"" LogGroupName:"g" LogStreamNames:["s"]}`},
		{"zero and false are present", logsapi.Service, logsCall("FilterLogEvents", `{"logGroupName":"g","startTime":0,"interleaved":false}`), `{Interleaved:false LogGroupName:"g" StartTime:0}`},
		{"null is absent", logsapi.Service, logsCall("FilterLogEvents", `{"logGroupName":"g","filterPattern":null,"logStreamNames":null}`), `{LogGroupName:"g"}`},
		{"unknown members", logsapi.Service, logsCall("CreateLogGroup", `{"x":{"y":[1,"]"]},"logGroupName":"g","z":1e9}`), `{LogGroupName:"g"}`},
		{"last of equals", logsapi.Service, logsCall("CreateLogGroup", `{"logGroupName":"a","logGroupName":"b"}`), `{LogGroupName:"b"}`},
		{"no body", lambdaapi.Service, lambda("POST /2014-11-13/functions/f/invoke-async", ""), `{FunctionName:"f" InvokeArgs:stream()}`},
		{"3.0 is an integer", logsapi.Service, logsCall("FilterLogEvents", `{"logGroupName":"g","limit":3.0,"startTime":1.7e12}`), `{Limit:3 LogGroupName:"g" StartTime:1700000000000}`},
		{"0e999999999", logsapi.Service, logsCall("FilterLogEvents", `{"logGroupName":"g","startTime":0e999999999}`), `{LogGroupName:"g" StartTime:0}`},
		{"3.5 is none", logsapi.Service, logsCall("FilterLogEvents", `{"logGroupName":"g","limit":3.5}`), `SerializationException: NUMBER_VALUE can not be converted to an Integer`},
		{"2^31 is too much", logsapi.Service, logsCall("FilterLogEvents", `{"logGroupName":"g","limit":2147483648}`), `SerializationException: NUMBER_VALUE can not be converted to an Integer`},
		{"2^63 is too much", logsapi.Service, logsCall("FilterLogEvents", `{"logGroupName":"g","startTime":9223372036854775808}`), `SerializationException: NUMBER_VALUE can not be converted to a Long`},
		{"number for string", logsapi.Service, logsCall("CreateLogGroup", `{"logGroupName":1}`), `SerializationException: NUMBER_VALUE can not be converted to a String`},
		{"string for number", lambdaapi.Service, lambda("POST /2015-03-31/functions", `{"MemorySize":"128"}`), `SerializationException: STRING_VALUE can not be converted to an Integer`},
		{"list for structure", lambdaapi.Service, lambda("POST /2015-03-31/functions", `{"Code":[]}`), `SerializationException: Start of list found where not expected`},
		{"structure for string", lambdaapi.Service, lambda("POST /2015-03-31/functions", `{"Role":{}}`), `SerializationException: Start of structure or map found where not expected.`},
		{"null in a list", lambdaapi.Service, lambda("POST /2015-03-31/functions", `{"Layers":[null]}`), `SerializationException: NULL_VALUE can not be converted to a list member`},
		{"escapes", logsapi.Service, logsCall("CreateLogGroup", `{"logGroup\u004eame":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83d"}`), "ValidationException"},
		{"escapes decoded", logsapi.Service, logsCall("GetLogEvents", `{"logStreamName":"\"\\\/\u00e9\ud83d\ude00 \ud83d","logGroupName":"g"}`), `{LogGroupName:"g" LogStreamName:"\"\\/é😀 �"}`},
		{"bad escape", logsapi.Service, logsCall("CreateLogGroup", `{"logGroupName":"\x"}`), "SerializationException"},
		{"raw control character", logsapi.Service, logsCall("CreateLogGroup", "{\"logGroupName\":\"a\nb\"}"), "SerializationException"},
		{"not UTF-8", logsapi.Service, logsCall("CreateLogGroup", "{\"logGroupName\":\"\xff\"}"), "SerializationException"},
		{"cut off", logsapi.Service, logsCall("CreateLogGroup", `{"logGroupName":"g"`), "SerializationException"},
		{"cut off in an escape", logsapi.Service, logsCall("CreateLogGroup", `{"logGroupName":"g\`), "SerializationException"},
		{"trailing text", logsapi.Service, logsCall("CreateLogGroup", `{"logGroupName":"g"}x`), "SerializationException"},
		{"trailing comma", logsapi.Service, logsCall("CreateLogGroup", `{"logGroupName":"g",}`), "SerializationException"},
		{"not an object", logsapi.Service, logsCall("CreateLogGroup", `[]`), "SerializationException: Start of structure or map found where not expected."},
		{"leading zero", logsapi.Service, logsCall("FilterLogEvents", `{"limit":03}`), "SerializationException"},
		{"blob", lambdaapi.Service, lambda("PUT /2015-03-31/functions/f/code", `{"ZipFile":"aGVsbG8="}`), `{FunctionName:"f" ZipFile:bytes(hello)}`},
		{"empty blob", lambdaapi.Service, lambda("PUT /2015-03-31/functions/f/code", `{"ZipFile":""}`), `{FunctionName:"f" ZipFile:bytes()}`},
		{"bad blob", lambdaapi.Service, lambda("PUT /2015-03-31/functions/f/code", `{"ZipFile":"*"}`), "SerializationException: Invalid base64 in blob"},
		{"epoch seconds", lambdaapi.Service, lambda("POST /2015-03-31/event-source-mappings", `{"FunctionName":"f","StartingPositionTimestamp":1700000000.25}`), `{FunctionName:"f" StartingPositionTimestamp:2023-11-14 22:13:20.25 +0000 UTC}`},
		{"raw payload", lambdaapi.Service, request{"POST /2015-03-31/functions/f/invocations?Qualifier=1", map[string]string{"X-Amz-Log-Type": "Tail", "X-Amz-Invocation-Type": "Event"}, "not json"}, `{FunctionName:"f" InvocationType:"Event" LogType:"Tail" Payload:bytes(not json) Qualifier:"1"}`},
		{"query list", lambdaapi.Service, lambda("DELETE /2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Af?tagKeys=a&tagKeys=b%2Bc", ""), `{Resource:"arn:aws:lambda:us-east-1:000000000000:function:f" TagKeys:["a" "b+c"]}`},
		{"query integer", lambdaapi.Service, lambda("GET /2015-03-31/functions?MaxItems=x", ""), `SerializationException: "x" is not a valid Integer`},

		{"form", iamapi.Service, form("Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D&Tags.member.2.Key=b&Tags.member.2.Value=&Tags.member.10.Key=c&Tags.member.10.Value=3&Tags.member.1.Key=a&Tags.member.1.Value=1"), `{AssumeRolePolicyDocument:"{}" RoleName:"r" Tags:[{Key:"a" Value:"1"} {Key:"b" Value:""} {Key:"c" Value:"3"}]}`},
		{"form boolean", iamapi.Service, form("Action=UpdateAccountPasswordPolicy&Version=2010-05-08&RequireSymbols=false&MinimumPasswordLength=8"), `{MinimumPasswordLength:8 RequireSymbols:false}`},
		{"form empty list", iamapi.Service, form("Action=UntagRole&Version=2010-05-08&RoleName=r&TagKeys="), `{RoleName:"r" TagKeys:[]}`},
		{"form bad index", iamapi.Service, form("Action=UntagRole&Version=2010-05-08&RoleName=r&TagKeys.member.x=a"), "MalformedInput: malformed form field"},
		{"form bad number", iamapi.Service, form("Action=ListRoles&Version=2010-05-08&MaxItems=ten"), `MalformedInput: "ten" is not a valid Integer`},
		{"form session policy", stsapi.Service, form("Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A000000000000%3Arole%2Fr&RoleSessionName=s1&PolicyArns.member.1.arn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2Fp&DurationSeconds=900"), `{DurationSeconds:900 PolicyArns:[{Arn:"arn:aws:iam::aws:policy/p"}] RoleArn:"arn:aws:iam::000000000000:role/r" RoleSessionName:"s1"}`},

		{"xml", s3api.Service, request{line: "POST /b/k?uploadId=u", body: `<?xml version="1.0"?><!-- c --><CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Part><ETag>"e"</ETag><PartNumber> 1 </PartNumber></Part><Part><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>`}, `{Bucket:"b" Key:"k" MultipartUpload:{Parts:[{ETag:"\"e\"" PartNumber:1} {PartNumber:2}]} UploadId:"u"}`},
		{"xml without namespace", s3api.Service, request{line: "PUT /b", body: `<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>`}, `{Bucket:"b" CreateBucketConfiguration:{LocationConstraint:"eu-west-1"}}`},
		{"xml region of one's own", s3api.Service, request{line: "PUT /b", body: `<CreateBucketConfiguration><LocationConstraint>mars-1</LocationConstraint></CreateBucketConfiguration>`}, `{Bucket:"b" CreateBucketConfiguration:{LocationConstraint:"mars-1"}}`},
		{"xml absent", s3api.Service, request{line: "PUT /b"}, `{Bucket:"b"}`},
		{"xml character data", s3api.Service, request{line: "POST /b?delete", body: `<Delete><Object><Key>a&amp;b&#x20;<![CDATA[<c>]]></Key></Object><Quiet>true</Quiet></Delete>`}, `{Bucket:"b" Delete:{Objects:[{Key:"a&b <c>"}] Quiet:true}}`},
		{"xml attribute", s3api.Service, request{line: "PUT /b?acl", body: `<AccessControlPolicy><AccessControlList><Grant><Grantee xmlns:x="http://www.w3.org/2001/XMLSchema-instance" x:type="CanonicalUser"><ID>i</ID></Grantee></Grant></AccessControlList></AccessControlPolicy>`}, `{AccessControlPolicy:{Grants:[{Grantee:{ID:"i" Type:"CanonicalUser"}}]} Bucket:"b"}`},
		{"xml required body", s3api.Service, request{line: "POST /b?delete"}, "MissingRequestBodyError: Request Body is empty"},
		{"xml required member", s3api.Service, request{line: "POST /b?delete", body: `<Delete><Object></Object></Delete>`}, "MalformedXML"},
		{"xml enumeration", s3api.Service, request{line: "PUT /b?versioning", body: `<VersioningConfiguration><Status>Maybe</Status></VersioningConfiguration>`}, "MalformedXML"},
		{"xml unknown element", s3api.Service, request{line: "PUT /b?versioning", body: `<VersioningConfiguration><Stat>Enabled</Stat></VersioningConfiguration>`}, "MalformedXML"},
		{"xml stray text", s3api.Service, request{line: "PUT /b?versioning", body: `<VersioningConfiguration>Enabled</VersioningConfiguration>`}, "MalformedXML"},
		{"xml given twice", s3api.Service, request{line: "PUT /b?versioning", body: `<VersioningConfiguration><Status>Enabled</Status><Status>Suspended</Status></VersioningConfiguration>`}, "MalformedXML"},
		{"xml other root", s3api.Service, request{line: "PUT /b?versioning", body: `<Versioning/>`}, "MalformedXML"},
		{"xml two roots", s3api.Service, request{line: "PUT /b?versioning", body: `<VersioningConfiguration/><VersioningConfiguration/>`}, "MalformedXML"},
		{"xml cut off", s3api.Service, request{line: "PUT /b?versioning", body: `<VersioningConfiguration>`}, "MalformedXML"},
		{"xml doctype", s3api.Service, request{line: "PUT /b?versioning", body: `<!DOCTYPE a [<!ENTITY b "c">]><VersioningConfiguration/>`}, "MalformedXML"},
		{"xml entity", s3api.Service, request{line: "POST /b?delete", body: `<Delete><Object><Key>&b;</Key></Object></Delete>`}, "MalformedXML"},
		{"xml encoding", s3api.Service, request{line: "PUT /b?versioning", body: `<?xml version="1.0" encoding="utf-16"?><VersioningConfiguration/>`}, "MalformedXML"},
		{"json for xml", s3api.Service, request{line: "PUT /b?versioning", body: `{}`}, "MalformedXML"},
		{"s3 headers", s3api.Service, request{"PUT /b/k", map[string]string{"X-Amz-Meta-Colour": "red", "X-Amz-Meta-": "no name", "X-Amz-Object-Lock-Retain-Until-Date": "2026-11-22T00:00:00Z", "X-Amz-Server-Side-Encryption-Bucket-Key-Enabled": "TRUE"}, "abc"}, `{Body:stream(abc) Bucket:"b" BucketKeyEnabled:true ContentLength:3 Key:"k" Metadata:map[colour:red] ObjectLockRetainUntilDate:2026-11-22 00:00:00 +0000 UTC}`},
		{"s3 header date", s3api.Service, request{"GET /b/k", map[string]string{"If-Modified-Since": "Sun, 22 Nov 2026 10:00:00 GMT"}, ""}, `{Bucket:"b" IfModifiedSince:2026-11-22 10:00:00 +0000 UTC Key:"k"}`},
		{"s3 header list", s3api.Service, request{"GET /b/k?attributes", map[string]string{"X-Amz-Object-Attributes": "ETag, ObjectSize"}, ""}, `{Bucket:"b" Key:"k" ObjectAttributes:["ETag" "ObjectSize"]}`},
		{"s3 policy", s3api.Service, request{line: "PUT /b?policy", body: `{"a": 1}`}, `{Bucket:"b" Policy:"{\"a\": 1}"}`},
		{"s3 bad number", s3api.Service, request{line: "GET /b?max-keys=x"}, "InvalidArgument: Provided max-keys not an integer or within integer range"},
		{"s3 empty number", s3api.Service, request{line: "GET /b?max-keys=&prefix="}, `{Bucket:"b" Prefix:""}`},
		{"s3 bad encoding type", s3api.Service, request{line: "GET /b?encoding-type=x"}, "InvalidArgument: Invalid Encoding Method specified in Request"},
		{"s3 no date", s3api.Service, request{"GET /b/k", map[string]string{"If-Modified-Since": "yesterday", "If-Match": "e"}, ""}, `{Bucket:"b" IfMatch:"e" Key:"k"}`},
		{"s3 bad copy source", s3api.Service, request{"PUT /b/k", map[string]string{"X-Amz-Copy-Source": "b"}, ""}, "InvalidArgument: Copy Source must mention the source bucket and key: sourcebucket/sourcekey"},
		{"s3 bad range", s3api.Service, request{line: "GET /?max-buckets=0"}, "InvalidArgument: Argument max-buckets must be an integer between 1 and 10000"},
		{"s3 bad checksum", s3api.Service, request{"POST /b/k?uploads", map[string]string{"X-Amz-Checksum-Algorithm": "MD4"}, ""}, "InvalidRequest"},
		{"s3 bad storage class", s3api.Service, request{"PUT /b/k", map[string]string{"X-Amz-Storage-Class": "PAPER"}, ""}, "InvalidStorageClass: The storage class you specified is not valid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in, err := decode(t, tc.svc, tc.req, awsapi.Limits{})
			got := ""
			if err != nil {
				e, ok := errors.AsType[*awsapi.ErrorResponse](err)
				if !ok {
					t.Fatalf("error is not modelled: %v", err)
				}
				got = e.Code
				if strings.Contains(tc.want, ": ") {
					got = e.Code + ": " + e.Message
				}
			} else {
				got = show(in)
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestDecode_Limits(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100)
	many := `{"logGroupName":"g","logStreamNames":[` + strings.Repeat(`"s",`, 999) + `"s"]}`
	for _, tc := range []struct {
		name string
		svc  *awsapi.Service
		req  request
		lim  awsapi.Limits
		want string
	}{
		{"json depth", logsapi.Service, logsCall("CreateLogGroup", `{"x":`+deep+`}`), awsapi.Limits{}, "SerializationException: nested too deeply"},
		{"json elements", logsapi.Service, logsCall("FilterLogEvents", many), awsapi.Limits{Elements: 1000}, "SerializationException: too many elements"},
		{"json body", logsapi.Service, logsCall("CreateLogGroup", many), awsapi.Limits{Body: 1000}, "RequestEntityTooLargeException: Request must be smaller than 1000 bytes for the CreateLogGroup operation"},
		{"invoke body", lambdaapi.Service, request{line: "POST /2015-03-31/functions/f/invocations", body: strings.Repeat(" ", 6291457)}, awsapi.Limits{}, "RequestEntityTooLargeException: Request must be smaller than 6291456 bytes for the InvokeFunction operation"},
		{"form elements", iamapi.Service, form("Action=ListUsers&Version=2010-05-08&a=&b=&c=&d="), awsapi.Limits{Elements: 5}, "MalformedInput: too many elements"},
		{"form depth", iamapi.Service, form("Action=ListUsers&Version=2010-05-08&" + strings.Repeat("a.", 70) + "a=1"), awsapi.Limits{}, "MalformedInput: nested too deeply"},
		{"form body", iamapi.Service, form("Action=ListUsers&Version=2010-05-08&a=" + strings.Repeat("a", 100)), awsapi.Limits{Body: 100}, "RequestEntityTooLarge: Request must be smaller than 100 bytes"},
		{"xml body", s3api.Service, request{line: "POST /b?delete", body: strings.Repeat(" ", 101)}, awsapi.Limits{Body: 100}, "MaxMessageLengthExceeded: Your request was too big."},
		{"xml elements", s3api.Service, request{line: "POST /b?delete", body: "<Delete>" + strings.Repeat("<Object><Key>k</Key></Object>", 1000) + "</Delete>"}, awsapi.Limits{Elements: 1000}, "MalformedXML: The XML you provided was not well-formed or did not validate against our published schema"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := decode(t, tc.svc, tc.req, tc.lim)
			if e, ok := errors.AsType[*awsapi.ErrorResponse](err); !ok || e.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
}

// TestDecode_BodyErrors has readers that fail: what the reader knows is told,
// what it does not know stays inside.
func TestDecode_BodyErrors(t *testing.T) {
	signature := awsapi.Errorf(403, "SignatureDoesNotMatch", "no")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("verify: %w", signature), "SignatureDoesNotMatch"},
		{io.ErrUnexpectedEOF, "IncompleteBody"},
		{errors.New("connection reset"), ""},
	} {
		r := httptest.NewRequest(http.MethodPost, "/b?delete", io.MultiReader(strings.NewReader("<Delete>"), failing{tc.err}))
		m, err := s3api.Service.Match(r, "", awsapi.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Decode(t.Context(), r, awsapi.Limits{})
		e, ok := errors.AsType[awsapi.Error](err)
		if ok != (tc.want != "") || ok && e.ErrorCode() != tc.want || !ok && !errors.Is(err, tc.err) {
			t.Errorf("%v became %v", tc.err, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// FuzzDecode feeds bodies to an operation of each protocol: whatever comes,
// the answer is an input or a modelled error, twice the same. JSON that
// encoding/json refuses must be refused.
func FuzzDecode(f *testing.F) {
	seeds := []string{
		`{"logGroupName":"g","tags":{"a":"b"},"logStreamNames":["x"],"limit":3.0,"startTime":1e3}`, `{"a":[[[[1]]]]}`, `{"\ud83d\ude00":null}`,
		`{"Code":{"ZipFile":"aGVsbG8="},"Environment":{"Variables":{"A1":"b"}},"Timeout":-0}`,
		`Action=CreateRole&Version=2010-05-08&RoleName=r&Tags.member.1.Key=a&Tags.member.1.Value=b`, `Action=UntagRole&Version=2010-05-08&TagKeys.member=1&TagKeys.member.1=2&TagKeys.member.1.x=3`,
		`<NotificationConfiguration><CloudFunctionConfiguration><CloudFunction>a</CloudFunction><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>v</Value></FilterRule></S3Key></Filter></CloudFunctionConfiguration></NotificationConfiguration>`,
		`<NotificationConfiguration xmlns="a"><!-- --><?x?><![CDATA[ ]]></NotificationConfiguration>`, `<!DOCTYPE a><a>&b;</a>`,
	}
	for _, body := range seeds {
		for kind := range byte(4) {
			f.Add(kind, body)
		}
	}
	f.Fuzz(func(t *testing.T, kind byte, body string) {
		var svc *awsapi.Service
		var q request
		switch kind % 4 {
		case 0:
			svc, q = logsapi.Service, logsCall("FilterLogEvents", body)
		case 1:
			svc, q = lambdaapi.Service, request{line: "POST /2015-03-31/functions", body: body}
		case 2:
			svc, q = iamapi.Service, form(body)
		case 3:
			svc, q = s3api.Service, request{line: "PUT /b?notification", body: body}
		}
		lim := awsapi.Limits{Depth: 20, Elements: 1000}
		in, err := decode(t, svc, q, lim)
		again, errAgain := decode(t, svc, q, lim)
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || !reflect.DeepEqual(in, again) {
			t.Fatalf("decoded twice: %v %v and %v %v", in, err, again, errAgain)
		}
		if err != nil {
			if _, ok := errors.AsType[awsapi.Error](err); !ok {
				t.Fatalf("error is not modelled: %v", err)
			}
		}
		if in != nil && kind%4 < 2 && strings.TrimSpace(body) != "" && !json.Valid([]byte(body)) {
			t.Fatalf("accepted what is not JSON: %q", body)
		}
	})
}

// FuzzMatch feeds paths and queries to the REST routers.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{"/b/k?acl", "/b//../%2F?uploads&uploadId", "/2015-03-31/functions/f/invocations?Qualifier=%zz", "//", "/%", "?list-type=2", ""} {
		for _, method := range []string{"GET", "PUT", "POST", "DELETE", "HEAD", "X"} {
			f.Add(method, s, s)
		}
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		for _, svc := range []*awsapi.Service{s3api.Service, lambdaapi.Service} {
			m, err := svc.MatchPath(method, path, query, http.Header{})
			if err != nil {
				if _, ok := errors.AsType[awsapi.Error](err); !ok {
					t.Fatalf("error is not modelled: %v", err)
				}
				continue
			}
			if m.Op.Method != method {
				t.Fatalf("%s %s matched %s", method, path, m.Op.Name)
			}
			// Whatever follows the bucket is the key, byte for byte.
			key, inBucket := strings.CutPrefix(path, "/b/")
			if want, err := url.PathUnescape(key); svc == s3api.Service && inBucket && err == nil && m.Label("Key") != want {
				t.Fatalf("key %q of %q, want %q", m.Label("Key"), path, want)
			}
		}
	})
}

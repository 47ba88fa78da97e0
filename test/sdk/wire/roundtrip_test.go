package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"davy/internal/awsapi"
)

// echo is a server of one service that answers every operation with what the
// test put in its hands, through the runtime under test.
type echo struct {
	svc *awsapi.Service
	out any   // SDK output to answer with
	err error // or the error

	op      string // operation that arrived
	in      any
	problem error
}

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m, err := e.svc.Match(r, "", awsapi.Limits{})
	if err != nil {
		e.problem = err
		e.svc.WriteError(w, awsapi.ErrorContext{Method: r.Method, RequestID: "id-1"}, err)
		return
	}
	in, err := m.Decode(r.Context(), r, awsapi.Limits{})
	if in == nil {
		e.problem = err
		e.svc.WriteError(w, awsapi.ErrorContext{Method: r.Method, RequestID: "id-1"}, err)
		return
	}
	e.op, e.in = m.Op.Name, drain(in)
	if e.err != nil {
		e.svc.WriteError(w, awsapi.ErrorContext{Method: r.Method, RequestID: "id-1", HostID: "host-1", Resource: r.URL.Path}, e.err)
		return
	}
	out := reflect.New(m.Op.Output)
	assign(out.Elem(), reflect.ValueOf(e.out).Elem())
	if err := e.svc.WriteOutput(w, &awsapi.Call{RequestID: "id-1"}, m.Op, out.Interface()); err != nil {
		e.problem = err
	}
}

// client makes an SDK client of module that talks to url.
func client(module, url string) reflect.Value {
	cfg := aws.Config{
		Region:           "us-east-1",
		BaseEndpoint:     aws.String(url),
		RetryMaxAttempts: 1,
		HTTPClient:       &http.Client{Transport: bodyInMemory{&http.Transport{}}},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}, nil
		}),
	}
	switch module {
	case "lambda":
		return reflect.ValueOf(lambda.NewFromConfig(cfg))
	case "s3":
		return reflect.ValueOf(s3.NewFromConfig(cfg, func(o *s3.Options) {
			o.UsePathStyle = true
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}))
	case "iam":
		return reflect.ValueOf(iam.NewFromConfig(cfg))
	case "sts":
		return reflect.ValueOf(sts.NewFromConfig(cfg))
	}
	return reflect.ValueOf(cloudwatchlogs.NewFromConfig(cfg))
}

// unions of the SDK are interfaces whose members cannot be listed, and these
// operations require one.
var unions = []string{"UpdateObjectEncryption", "PutIntegration"}

// bodyInMemory keeps the SDK and net/http from a race that only a server as
// near as this one loses: the SDK closes a request's body once the response
// begins, and the transport breaks the connection if it had not closed it yet.
type bodyInMemory struct{ http.RoundTripper }

func (b bodyInMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(text))
	}
	return b.RoundTripper.RoundTrip(r)
}

// streamed operations answer with events: TestEventStream has them.
var streamed = []string{"InvokeWithResponseStream", "SelectObjectContent", "StartLiveTail", "GetLogObject"}

// TestRoundTrip_EveryOperation calls every operation of every service with a
// real client. All members of the input are set at random; what the server
// decoded must equal it. All members of the output are set; what the client
// decoded must equal that.
func TestRoundTrip_EveryOperation(t *testing.T) {
	for _, s := range services {
		t.Run(s.module, func(t *testing.T) {
			e := &echo{svc: s.svc}
			srv := httptest.NewServer(e)
			defer srv.Close()
			c := client(s.module, srv.URL)
			done := 0
			for _, op := range s.svc.Operations {
				method := c.MethodByName(op.Name)
				if !method.IsValid() || slices.Contains(streamed, op.Name) || slices.Contains(unions, op.Name) || op.HostPrefix != "" || op.Name == "ListDirectoryBuckets" || op.Name == "CreateSession" {
					continue
				}
				done++
				for seed := range uint64(8) {
					if err := roundTrip(t.Context(), e, op.Name, method, seed); err != nil {
						t.Errorf("%s, seed %d: %v", op.Name, seed, err)
						break
					}
				}
			}
			t.Logf("%d of %d operations", done, len(s.svc.Operations))
			if done < len(s.svc.Operations)-s.unlived {
				t.Errorf("only %d of %d operations were called", done, len(s.svc.Operations))
			}
		})
	}
}

func roundTrip(ctx context.Context, e *echo, op string, method reflect.Value, seed uint64) error {
	f := &filling{rng(seed)}
	in := reflect.New(method.Type().In(1).Elem())
	f.structure(in.Elem(), 0)
	out := reflect.New(method.Type().Out(0).Elem())
	f.structure(out.Elem(), 0)
	*e = echo{svc: e.svc, out: drain(out.Interface())}
	sent := clone(drain(in.Interface()))
	results := method.Call([]reflect.Value{reflect.ValueOf(ctx), in})
	if e.problem != nil {
		return fmt.Errorf("server: %w", e.problem)
	}
	if err, _ := results[1].Interface().(error); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if e.op != op {
		return fmt.Errorf("arrived as %s", e.op)
	}
	if diff := differ("in", reflect.ValueOf(sent), reflect.ValueOf(e.in)); diff != "" {
		return errors.New(diff)
	}
	if diff := differ("out", reflect.ValueOf(e.out), reflect.ValueOf(drain(results[0].Interface()))); diff != "" {
		return errors.New(diff)
	}
	return nil
}

// filling sets members of SDK structures.
type filling struct{ *rand.Rand }

// kept members would make the client do something of its own.
var kept = []string{"ResultMetadata", "ChecksumAlgorithm", "ChecksumMode", "ContentLength", "ContentEncoding", "Expires", "ExpiresString", "SSECustomerKey", "SSECustomerKeyMD5", "CopySourceSSECustomerKey", "CopySourceSSECustomerKeyMD5", "ContentMD5"}

func (f *filling) structure(v reflect.Value, depth int) {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if !sf.IsExported() || slices.Contains(kept, sf.Name) || strings.HasPrefix(sf.Name, "ChecksumCRC") || strings.HasPrefix(sf.Name, "ChecksumSHA") ||
			strings.HasPrefix(sf.Name, "ChecksumMD5") || strings.HasPrefix(sf.Name, "ChecksumXX") {
			continue
		}
		switch fv := v.Field(i); {
		case sf.Name == "Bucket" && depth == 0 && fv.Kind() == reflect.Pointer:
			fv.Set(reflect.ValueOf(aws.String("bucket")))
		case sf.Name == "PartNumberMarker" || sf.Name == "NextPartNumberMarker":
			fv.Set(reflect.ValueOf(aws.String("3"))) // an integer on the wire
		case (sf.Name == "StatusCode" || sf.Name == "Status") && fv.Kind() == reflect.Int32:
			fv.SetInt(200)
		default:
			f.value(fv, sf.Name, depth)
		}
	}
}

var words = []string{"plain", "with space", "a+b=c&d;e", "slash/and//more", "<x>&\"quoted\"'", "ünïcödé 漢字 😀", "per%cent%20", "line\ntab\tend", "1", "true", `back\slash`, "#?:@!$()*,[]"}

func (f *filling) value(v reflect.Value, name string, depth int) {
	if depth > 9 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.Type().Elem().Kind() == reflect.Struct && v.Type() != reflect.TypeFor[*time.Time]() && depth == 9 {
			return
		}
		v.Set(reflect.New(v.Type().Elem()))
		f.value(v.Elem(), name, depth)
	case reflect.String:
		if values := v.MethodByName("Values"); values.IsValid() {
			all := values.Call(nil)[0]
			v.Set(all.Index(f.IntN(all.Len())))
			return
		}
		v.SetString(f.text(name))
	case reflect.Bool:
		v.SetBool(f.IntN(4) > 0)
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(f.IntN(900) + 1))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(f.IntN(1000)) / 8)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1_700_000_000+int64(f.IntN(1000)), 0).UTC()))
			return
		}
		f.structure(v, depth+1)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(f.text(name)))
			return
		}
		n := f.IntN(3) + 1
		if depth > 2 || carried[",query"][name] {
			n = 1 // the SDK's signer sorts the values of a query member
		}
		list := reflect.MakeSlice(v.Type(), n, n)
		for i := range n {
			f.value(list.Index(i), name, depth+1)
		}
		if list.Index(0).Kind() == reflect.Interface {
			return
		}
		v.Set(list)
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		for range f.IntN(2) + 1 {
			key, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.value(key, name, depth+1)
			f.value(e, name, depth+1)
			if key.Kind() == reflect.String && name == "Metadata" {
				key.SetString(fmt.Sprintf("key-%d", f.IntN(1000)))
				e.SetString("some value")
			}
			m.SetMapIndex(key, e)
		}
		v.Set(m)
	case reflect.Interface:
		if reflect.TypeFor[io.ReadCloser]().AssignableTo(v.Type()) {
			v.Set(reflect.ValueOf(io.NopCloser(bytes.NewReader([]byte(f.text(name))))))
		}
		// else a union: its members cannot be listed
	}
}

func (f *filling) text(name string) string {
	if carried[",header"][name] {
		return "plain" // HTTP headers carry less
	}
	return words[f.IntN(len(words))] + fmt.Sprint(f.IntN(100))
}

// carried has the names of members that some operation carries in a header or
// in the query.
var carried = func() map[string]map[string]bool {
	places := map[string]map[string]bool{",header": {}, ",query": {}}
	for _, s := range services {
		for _, op := range s.svc.Operations {
			for _, typ := range []reflect.Type{op.Input, op.Output} {
				for i := range typ.NumField() {
					for place, names := range places {
						if strings.Contains(typ.Field(i).Tag.Get("aws"), place) {
							names[typ.Field(i).Name] = true
						}
					}
				}
			}
		}
	}
	return places
}()

// drained is a body that was read: it can be read again, and compared.
type drained struct {
	*bytes.Reader
	text string
}

func (drained) Close() error { return nil }

// drain reads the streams of a structure and puts copies in their place.
func drain(v any) any {
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		if s.Field(i).Kind() != reflect.Interface || !s.Type().Field(i).IsExported() {
			continue
		}
		if r, ok := s.Field(i).Interface().(io.Reader); ok {
			text, err := io.ReadAll(r)
			if err != nil {
				text = []byte("unreadable: " + err.Error())
			}
			s.Field(i).Set(reflect.ValueOf(drained{bytes.NewReader(text), string(text)}))
		}
	}
	return v
}

func clone(v any) any {
	c := reflect.New(reflect.TypeOf(v).Elem())
	c.Elem().Set(reflect.ValueOf(v).Elem())
	return c.Interface()
}

// assign copies an SDK value into one of ours: same names, other types.
func assign(dst, src reflect.Value) {
	if src.Kind() == reflect.Pointer || src.Kind() == reflect.Interface && dst.Kind() != reflect.Interface {
		if src.IsNil() {
			return
		}
		src = src.Elem()
	}
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	switch {
	case dst.Type() == src.Type():
		dst.Set(src)
	case dst.Kind() == reflect.Struct:
		for i := range dst.NumField() {
			if f := member(src, dst.Type().Field(i).Name); f.IsValid() && !blank(f) {
				assign(dst.Field(i), f)
			}
		}
	case dst.Kind() == reflect.Slice:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeSlice(dst.Type(), src.Len(), src.Len()))
		for i := range src.Len() {
			assign(dst.Index(i), src.Index(i))
		}
	case dst.Kind() == reflect.Map:
		if src.IsNil() {
			return
		}
		dst.Set(reflect.MakeMap(dst.Type()))
		for _, k := range src.MapKeys() {
			e := reflect.New(dst.Type().Elem()).Elem()
			assign(e, src.MapIndex(k))
			dst.SetMapIndex(k.Convert(dst.Type().Key()), e)
		}
	case dst.CanInt() && src.Kind() == reflect.String:
		var n int64
		fmt.Sscan(src.String(), &n)
		dst.SetInt(n)
	case src.CanConvert(dst.Type()):
		dst.Set(src.Convert(dst.Type()))
	case dst.Kind() == reflect.Interface && !src.IsNil():
		dst.Set(src.Elem())
	}
}

// blank tells a value that the SDK does not tell from absent.
func blank(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return v.IsNil()
	}
	return v.IsZero()
}

// member finds a member by name, whatever the case of its letters.
func member(s reflect.Value, name string) reflect.Value {
	if f := s.FieldByName(name); f.IsValid() {
		return f
	}
	return s.FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, name) })
}

// differ says where an SDK value and another one, ours or the SDK's, differ.
func differ(path string, want, got reflect.Value) string {
	for want.Kind() == reflect.Pointer || want.Kind() == reflect.Interface {
		if want.IsNil() {
			return ""
		}
		want = want.Elem()
	}
	for got.IsValid() && (got.Kind() == reflect.Pointer || got.Kind() == reflect.Interface) {
		got = got.Elem()
	}
	if !got.IsValid() {
		if want.IsZero() {
			return ""
		}
		return fmt.Sprintf("%s: %v was lost", path, want)
	}
	if d, ok := want.Interface().(drained); ok {
		if g, _ := got.Interface().(drained); g.text != d.text {
			return fmt.Sprintf("%s: body %q became %q", path, d.text, g.text)
		}
		return ""
	}
	switch want.Kind() {
	case reflect.Struct:
		if t, ok := want.Interface().(time.Time); ok {
			if g, ok := got.Interface().(time.Time); !ok || !g.Equal(t) {
				return fmt.Sprintf("%s: %v became %v", path, t, got)
			}
			return ""
		}
		for i := range want.NumField() {
			name := want.Type().Field(i).Name
			if !want.Type().Field(i).IsExported() || name == "ResultMetadata" || blank(want.Field(i)) {
				continue
			}
			g := member(got, name)
			if !g.IsValid() {
				continue // the SDK is newer than the model, or older
			}
			if d := differ(path+"."+name, want.Field(i), g); d != "" {
				return d
			}
		}
		return ""
	case reflect.Slice:
		if want.Len() != got.Len() {
			return fmt.Sprintf("%s: %d elements became %d", path, want.Len(), got.Len())
		}
		for i := range want.Len() {
			if d := differ(fmt.Sprintf("%s[%d]", path, i), want.Index(i), got.Index(i)); d != "" {
				return d
			}
		}
		return ""
	case reflect.Map:
		if want.Len() != got.Len() {
			return fmt.Sprintf("%s: %d entries became %d", path, want.Len(), got.Len())
		}
		for _, k := range want.MapKeys() {
			if d := differ(fmt.Sprintf("%s[%v]", path, k), want.MapIndex(k), got.MapIndex(k.Convert(got.Type().Key()))); d != "" {
				return d
			}
		}
		return ""
	}
	if fmt.Sprint(want) != fmt.Sprint(got) {
		return fmt.Sprintf("%s: %q became %q", path, fmt.Sprint(want), fmt.Sprint(got))
	}
	return ""
}

func rng(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 7)) }

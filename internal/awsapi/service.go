package awsapi

import (
	"context"
	"reflect"
	"regexp"
	"sync"
)

// Protocol is the wire protocol that a service speaks.
type Protocol int

// The protocols that Davy speaks.
// https://smithy.io/2.0/aws/protocols/index.html
const (
	RESTJSON Protocol = iota + 1 // restJson1: Lambda
	RESTXML                      // restXml: S3
	Query                        // awsQuery: IAM, STS
	JSON                         // awsJson1.0 and 1.1: CloudWatch Logs
)

// Service describes one AWS service. The packages below api/ hold one each,
// generated; it must not be changed once it is in use, and is then safe for
// concurrent use.
//
// The structure types of its operations are described by the tag `aws`: the
// wire name, then any of
//
//	uri query header headers status   where the member travels; body if absent
//	payload                           the member is the whole body
//	eventpayload eventheader          where in an event-stream message
//	required idempotency sensitive    traits
//	flat attr xmlns=URI xmlns:P=URI   XML form
//	member=NAME                       the model's name where the wire name differs
//	shape=NAME                        the Shapes entry of the member's value
type Service struct {
	ID             string // S3, CloudWatch Logs
	SigningName    string // s3, logs: the service in a credential scope
	EndpointPrefix string // s3, logs: the first label of the AWS host name
	Protocol       Protocol
	Version        string // API version, a date
	JSONVersion    string // JSON: 1.0 or 1.1
	TargetPrefix   string // JSON: of X-Amz-Target
	XMLNamespace   string // of XML responses
	MaxBody        int64  // bytes of a request body that is not streamed; 0: 1 MiB
	Operations     []*Operation
	Shapes         map[string]*Shape // constraints and wire forms of scalars, lists and maps

	once  sync.Once
	index index
	plans sync.Map // reflect.Type of a structure: *plan
}

// Operation describes one operation of a service.
type Operation struct {
	Name          string
	Method        string
	URI           string // template: escaped path, {Label}, {Greedy+}, literal query
	Status        int    // of a success; 0 means 200
	ResultWrapper string // Query: element around the result
	InputRoot     string // RESTXML: root element of a request without payload member
	OutputRoot    string // RESTXML: root element of a response without payload member
	HostPrefix    string
	Errors        []string // codes that the model lists
	MaxBody       int64    // overrides the service's
	Deprecated    bool
	NoAuth        bool // the caller needs no signature

	Input, Output reflect.Type // structures
	call          func(ctx context.Context, impl, in any) (any, error)
}

// Op completes o by the interface method that it stands for.
func Op[A, I, O any](method func(A, context.Context, *I) (*O, error), o Operation) *Operation {
	o.Input, o.Output = reflect.TypeFor[I](), reflect.TypeFor[O]()
	o.call = func(ctx context.Context, impl, in any) (any, error) {
		out, err := method(impl.(A), ctx, in.(*I))
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = new(O)
		}
		return out, nil
	}
	return &o
}

// Call runs the operation of impl, which implements the API interface of the
// generated package, on in, a pointer to o.Input. The result is a pointer to
// o.Output, never nil if the error is.
func (o *Operation) Call(ctx context.Context, impl, in any) (any, error) {
	return o.call(ctx, impl, in)
}

// Shape holds the constraints and the wire form of a scalar, list or map.
type Shape struct {
	Min, Max *float64 // of the value, of its length in characters or bytes, or of its count
	Pattern  string   // as the model writes it
	Accept   string   // RE2 form of Pattern where it differs
	Reject   string   // RE2 form of what Pattern excludes
	// PatternText is what the service says of a text that does not match,
	// instead of showing the pattern; %s is the member's name.
	PatternText string
	Enum        []string
	Open        bool   // Enum is informative: the service judges other values itself
	EnumCode    string // error code for a value that is not in Enum, if not the usual one
	EnumNote    string // what that error's message ends in
	Sensitive   bool
	Timestamp   string // iso8601, rfc822, unixTimestamp; empty: the protocol's default

	Member, MemberName string // list: Shapes entry and element name
	Key, KeyName       string // map
	Value, ValueName   string

	once           sync.Once
	accept, reject *regexp.Regexp
}

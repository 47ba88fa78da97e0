// Package awsapi speaks the AWS wire protocols restJson1, restXml, awsQuery
// and awsJson for services described by the generated packages below api/.
//
// It finds the operation of a request, decodes and validates its input, and
// encodes its output or its error as AWS does. It is for the gateway, which
// does, for a request whose service it knows:
//
//	m, err := s3api.Service.Match(r, bucketFromHost, awsapi.Limits{})
//	if err != nil {
//		s3api.Service.WriteError(w, ec, err)
//		return
//	}
//	in, err := m.Decode(ctx, r, awsapi.Limits{})
//	// err as above; authorise the caller for m.Op and in
//	out, err := m.Op.Call(awsapi.WithCall(ctx, call), s3, in) // s3 is an s3api.API
//	// err as above
//	if err := s3api.Service.WriteOutput(w, call, m.Op, out); err != nil {
//		panic(http.ErrAbortHandler) // half sent: break the connection
//	}
//
// Services use it for Error, Errorf, NotImplemented, Val and CallFrom.
//
// The invariants: absent and empty are told apart from the wire to the handler
// and back; whatever a client sends costs at most what Limits allow and never
// panics; an error that is not an Error never shows its text to a client.
package awsapi

package awsapi

// EventStream writes the events of a streamed output: the runtime calls it
// once the response's headers are sent, with a function that sends one event,
// flushed before it returns. E is a union: exactly one member must be set. An
// error that it returns ends the stream with an exception message.
type EventStream[E any] func(send func(*E) error) error

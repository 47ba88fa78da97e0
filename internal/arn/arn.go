// Package arn reads and writes Amazon Resource Names and the identifiers that
// stand for them.
//
// Parsing never resolves anything: it says what a string means, not whether
// the resource exists.
package arn

import (
	"errors"
	"fmt"
	"strings"
)

// ErrMalformed is returned (wrapped) for a string that is not an ARN.
var ErrMalformed = errors.New("malformed ARN")

// Partition is the only partition that Davy serves.
const Partition = "aws"

// ARN is a parsed resource name:
// arn:partition:service:region:account:resource.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html
type ARN struct {
	Partition string
	Service   string
	Region    string // empty for global services
	Account   string // empty for S3 buckets and objects
	Resource  string // everything after the fifth colon, colons included
}

// New builds an ARN in Davy's partition.
func New(service, region, account, resource string) ARN {
	return ARN{Partition: Partition, Service: service, Region: region, Account: account, Resource: resource}
}

// Parse splits s into its parts. The error wraps ErrMalformed.
func Parse(s string) (ARN, error) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || parts[2] == "" || parts[5] == "" {
		return ARN{}, fmt.Errorf("%w: %q", ErrMalformed, s)
	}
	return ARN{Partition: parts[1], Service: parts[2], Region: parts[3], Account: parts[4], Resource: parts[5]}, nil
}

// String returns the name in its canonical form.
func (a ARN) String() string {
	return "arn:" + a.Partition + ":" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

package gateway

import (
	"net"
	"strings"
)

// awsDomain is the parent of AWS's own host names, which clients with
// hard-wired endpoints ask for.
const awsDomain = "amazonaws.com"

// place is what a host name says of a request's destination.
type place struct {
	service string // s3, lambda, ...; empty: the name does not tell
	bucket  string // of a virtual-hosted S3 request
}

// placeOf reads a Host header. domain is the installation's own.
//
// The forms are SERVICE.DOMAIN, BUCKET.s3.DOMAIN and AWS's:
// SERVICE[.REGION].amazonaws.com, BUCKET.s3[.dualstack][.REGION].amazonaws.com
// and the legacy s3-REGION.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
func placeOf(host, domain string) place {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	name, own := strings.CutSuffix(host, "."+domain)
	if !own {
		var aws bool
		if name, aws = strings.CutSuffix(host, "."+awsDomain); !aws {
			return place{}
		}
	}
	labels := strings.Split(name, ".")
	// The S3 label nearest to the domain splits bucket from endpoint: bucket
	// names may contain dots and even the label "s3".
	for i := len(labels) - 1; i >= 0; i-- {
		if labels[i] != "s3" && !strings.HasPrefix(labels[i], "s3-") {
			continue
		}
		rest := labels[i+1:]
		if len(rest) > 0 && rest[0] == "dualstack" {
			rest = rest[1:]
		}
		if len(rest) > 1 {
			continue
		}
		return place{service: "s3", bucket: strings.Join(labels[:i], ".")}
	}
	return place{service: labels[0]}
}

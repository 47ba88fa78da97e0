package s3

import (
	"net/netip"
	"strings"
)

// The reserved names are AWS's, without amzn-s3-demo- (AWS's documentation uses
// it in every example, so people type it) and -an (account-regional
// namespaces); console is Davy's own host name.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var (
	reservedPrefixes = []string{"xn--", "sthree-"}
	reservedSuffixes = []string{"-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"}
	reservedNames    = []string{"console"}
)

// validBucketName tells whether a new bucket may have this name.
func validBucketName(name string) bool {
	if len(name) < 3 || len(name) > 63 || strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (c != '-' && c != '.' || i == 0 || i == len(name)-1) {
			return false
		}
	}
	if a, err := netip.ParseAddr(name); err == nil && a.Is4() {
		return false
	}
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(name, p) {
			return false
		}
	}
	for _, s := range reservedSuffixes {
		if strings.HasSuffix(name, s) {
			return false
		}
	}
	for _, n := range reservedNames {
		if name == n {
			return false
		}
	}
	return true
}

// maxKeyLength is the longest object key in bytes.
const maxKeyLength = 1024

// validKey answers the error for a key that no object can have.
func validKey(key string) error {
	if len(key) > maxKeyLength {
		return errKeyTooLong(len(key))
	}
	if key == "" {
		return errInvalidArgument("", "", "Object key must not be empty.")
	}
	return nil
}

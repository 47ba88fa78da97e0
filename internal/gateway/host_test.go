package gateway

import "testing"

func TestPlaceOf(t *testing.T) {
	for _, tc := range []struct {
		host string
		want place
	}{
		{"127.0.0.1:4566", place{}},
		{"localhost:4566", place{}},
		{"[::1]:4566", place{}},
		{"s3.localhost:4566", place{service: "s3"}},
		{"photos.s3.localhost:4566", place{service: "s3", bucket: "photos"}},
		{"my.photos.s3.localhost", place{service: "s3", bucket: "my.photos"}},
		{"lambda.localhost", place{service: "lambda"}},
		{"s3.amazonaws.com", place{service: "s3"}},
		{"s3.eu-west-1.amazonaws.com", place{service: "s3"}},
		{"s3-eu-west-1.amazonaws.com", place{service: "s3"}},
		{"Photos.s3.amazonaws.com.", place{service: "s3", bucket: "photos"}},
		{"photos.s3.eu-west-1.amazonaws.com", place{service: "s3", bucket: "photos"}},
		{"photos.s3.dualstack.eu-west-1.amazonaws.com", place{service: "s3", bucket: "photos"}},
		{"a.s3.b.s3.us-east-1.amazonaws.com:443", place{service: "s3", bucket: "a.s3.b"}},
		{"lambda.us-east-1.amazonaws.com", place{service: "lambda"}},
		{"iam.amazonaws.com", place{service: "iam"}},
		{"amazonaws.com", place{}},
		{"s3.amazonaws.com.evil.example", place{}},
		{"", place{}},
	} {
		if got := placeOf(tc.host, "localhost"); got != tc.want {
			t.Errorf("placeOf(%q) = %+v, want %+v", tc.host, got, tc.want)
		}
	}
}

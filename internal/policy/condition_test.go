package policy

import (
	"fmt"
	"strings"
	"testing"
)

// holds evaluates one condition against values of the key k; nil: absent.
func holds(t *testing.T, operator string, policyValues string, values []string) bool {
	t.Helper()
	c, ok := compileCondition(operator, "app:K", strings.Split(policyValues, "|"), true)
	if !ok {
		t.Fatalf("%s does not take %q", operator, policyValues)
	}
	ctx := Values{}
	if values != nil {
		ctx["app:k"] = values
	}
	return c.holds(ctx)
}

// TestOperators has, for each operator, a value that fits and one that does
// not; a missing key fits only negated operators.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
func TestOperators(t *testing.T) {
	tests := []struct{ operator, policy, fits, not string }{
		{"StringEquals", "a|b", "b", "A"},
		{"StringEquals", "a*", "a*", "ab"},
		{"StringNotEquals", "a|b", "c", "b"},
		{"StringEqualsIgnoreCase", "Äb", "äB", "b"},
		{"StringNotEqualsIgnoreCase", "ab", "b", "AB"},
		{"StringLike", "h?m/*/x", "hom/a/b/x", "hm/a/x"},
		{"StringLike", "*", "", "-"},
		{"StringNotLike", "home/*", "away/a", "home/a"},
		{"NumericEquals", "10", "10.0", "10.5"},
		{"NumericEquals", "9007199254740993", "9007199254740993", "9007199254740992"},
		{"NumericNotEquals", "10", "11", "10"},
		{"NumericLessThan", "10", "9.5", "10"},
		{"NumericLessThanEquals", "10", "10", "11"},
		{"NumericGreaterThan", "10", "1e2", "10"},
		{"NumericGreaterThanEquals", "-1.5", "-1.5", "-2"},
		{"NumericEquals", "1", "1", "0x1"},
		{"NumericEquals", "1", "1", "NaN"},
		{"DateEquals", "2026-11-22T00:00:00Z", "1795305600", "1795305601"},
		{"DateNotEquals", "2026-11-22T00:00:00Z", "2026-11-22T00:00:01Z", "2026-11-22T01:00:00+01:00"},
		{"DateLessThan", "2026-11-22", "2026-11-21T23:59:59Z", "2026-11-22T00:00Z"},
		{"DateLessThanEquals", "1795305600", "2026-11-22T00:00:00Z", "2026-11-22T00:00:01Z"},
		{"DateGreaterThan", "2026", "2026-01-01T00:00:00.001Z", "2025-12"},
		{"DateGreaterThanEquals", "2026-11", "2026-11-01", "2026-10-31"},
		{"Bool", "true", "TRUE", "false"},
		{"Bool", "false", "false", "no"},
		{"BinaryEquals", "QmluYXJ5", "QmluYXJ5", "QmluYXJ6"},
		{"IpAddress", "203.0.113.0/24|2001:db8::/32", "203.0.113.7", "203.0.114.7"},
		{"IpAddress", "203.0.113.7", "::ffff:203.0.113.7", "203.0.113.8"},
		{"IpAddress", "2001:db8::/32", "2001:db8:1::1", "2001:db9::1"},
		{"IpAddress", "0.0.0.0/0", "10.0.0.1", "::1"},
		{"IpAddress", "10.0.0.0/8", "10.0.0.1", "nonsense"},
		{"NotIpAddress", "203.0.113.0/24", "203.0.114.7", "203.0.113.7"},
		{"ArnEquals", "arn:aws:sns:*:111122223333:t-?", "arn:aws:sns:eu-west-1:111122223333:t-1", "arn:aws:sns:eu-west-1:444455556666:t-1"},
		{"ArnLike", "arn:aws:s3:::b/*", "arn:aws:s3:::b/k:1/x", "arn:aws:s3:::c/k"},
		// Each component is matched apart: a star does not reach across.
		{"ArnLike", "arn:aws:sns:*:t", "arn:aws:sns:r:t", "arn:aws:sns:r:a:t"},
		{"ArnNotEquals", "arn:aws:s3:::b", "arn:aws:s3:::c", "arn:aws:s3:::b"},
		{"ArnNotLike", "arn:aws:s3:::b*", "arn:aws:s3:::c", "arn:aws:s3:::bb"},
	}
	covered := map[string]bool{"Null": true}
	for _, tc := range tests {
		covered[tc.operator] = true
		t.Run(fmt.Sprintf("%s %s", tc.operator, tc.policy), func(t *testing.T) {
			if !holds(t, tc.operator, tc.policy, []string{tc.fits}) {
				t.Errorf("%q should fit", tc.fits)
			}
			if tc.not != "-" && holds(t, tc.operator, tc.policy, []string{tc.not}) {
				t.Errorf("%q should not fit", tc.not)
			}
			negated := operators[tc.operator].negate
			if got := holds(t, tc.operator, tc.policy, nil); got != negated {
				t.Errorf("a missing key: %v, want %v", got, negated)
			}
			if !holds(t, tc.operator+"IfExists", tc.policy, nil) {
				t.Error("IfExists: a missing key should fit")
			}
			if !holds(t, tc.operator+"IfExists", tc.policy, []string{tc.fits}) || tc.not != "-" && holds(t, tc.operator+"IfExists", tc.policy, []string{tc.not}) {
				t.Error("IfExists: a present key should count")
			}
		})
	}
	for name := range operators {
		if !covered[name] {
			t.Errorf("no case for %s", name)
		}
	}
	if len(operators) != 27 {
		t.Errorf("%d operators", len(operators))
	}
}

func TestNull(t *testing.T) {
	for _, tc := range []struct {
		policy string
		values []string
		want   bool
	}{
		{"true", nil, true},
		{"true", []string{"v"}, false},
		{"false", nil, false},
		{"false", []string{"v"}, true},
		{"false", []string{}, false},
		{"true|false", nil, true},
	} {
		if got := holds(t, "Null", tc.policy, tc.values); got != tc.want {
			t.Errorf("Null %s on %v = %v", tc.policy, tc.values, got)
		}
	}
}

// TestSets follows the tables of AWS's page on keys with several values.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
func TestSets(t *testing.T) {
	list := func(s string) []string {
		switch s {
		case "-":
			return nil
		case "empty":
			return []string{}
		}
		return strings.Split(s, ",")
	}
	for _, tc := range []struct {
		operator, policy, values string
		want                     bool
	}{
		{"ForAllValues:StringEquals", "red|green", "red", true},
		{"ForAllValues:StringEquals", "red|green", "red,green", true},
		{"ForAllValues:StringEquals", "red|green", "red,blue", false},
		{"ForAllValues:StringEquals", "red|green", "-", true},
		{"ForAllValues:StringEquals", "red|green", "empty", true},
		{"ForAllValues:StringEquals", "red|green", "", true},
		{"ForAllValues:StringNotEquals", "red|green", "blue,white", true},
		{"ForAllValues:StringNotEquals", "red|green", "blue,red", false},
		{"ForAllValues:StringNotEquals", "red|green", "-", true},
		{"ForAnyValue:StringEquals", "red|green", "red,blue", true},
		{"ForAnyValue:StringEquals", "red|green", "blue", false},
		{"ForAnyValue:StringEquals", "red|green", "-", false},
		{"ForAnyValue:StringEquals", "red|green", "empty", false},
		{"ForAnyValue:StringNotEquals", "red|green", "red,blue", true},
		{"ForAnyValue:StringNotEquals", "red|green", "red,green", false},
		{"ForAnyValue:StringNotEquals", "red|green", "-", false},
		{"ForAnyValue:StringLikeIfExists", "r*", "-", true},
		{"ForAnyValue:StringLikeIfExists", "r*", "blue", false},
		{"ForAllValues:NumericLessThan", "10", "1,2,30", false},
		{"ForAllValues:Bool", "true", "true,true", true},
	} {
		if got := holds(t, tc.operator, tc.policy, list(tc.values)); got != tc.want {
			t.Errorf("%s %s on %s = %v, want %v", tc.operator, tc.policy, tc.values, got, tc.want)
		}
	}
}

func TestCondition_Refused(t *testing.T) {
	for _, tc := range [][2]string{
		{"StringLikes", "a"},
		{"stringequals", "a"},
		{"NullIfExists", "true"},
		{"ForSome:StringEquals", "a"},
		{"IfExists", "a"},
		{"NumericEquals", "ten"},
		{"DateEquals", "yesterday"},
		{"DateEquals", ""},
		{"Bool", "yes"},
		{"Null", "1"},
		{"IpAddress", "300.1.1.1"},
		{"IpAddress", "10.0.0.0/33"},
		{"IpAddress", "fe80::1%eth0"},
		{"BinaryEquals", "%"},
		{"StringEquals", "${aws:username"},
		{"StringEquals", "${}"},
		{"StringEquals", "${aws:username, x}"},
		{"StringLike", "${a b}"},
	} {
		if _, ok := compileCondition(tc[0], "aws:k", []string{tc[1]}, true); ok {
			t.Errorf("%s %q was accepted", tc[0], tc[1])
		}
	}
}

package policy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// number compares integers exactly and everything else as floats.
type number struct {
	whole bool
	i     int64
	f     float64
}

func parseNumber(s string) (number, bool) {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return number{whole: true, i: i, f: float64(i)}, true
	}
	if strings.Trim(s, "+-.0123456789eE") != "" {
		return number{}, false // no hexadecimal, NaN or Inf
	}
	f, err := strconv.ParseFloat(s, 64)
	return number{f: f}, err == nil
}

func (n number) compare(m number) int {
	if n.whole && m.whole {
		return compareInt(n.i, m.i)
	}
	switch {
	case n.f < m.f:
		return -1
	case n.f > m.f:
		return 1
	}
	return 0
}

func compareInt(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// instantLayouts are the W3C profiles of ISO 8601 that policies use.
var instantLayouts = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999Z0700",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02T15:04",
	"2006-01-02",
	"2006-01",
}

// parseInstant reads an ISO 8601 date or seconds since the epoch.
func parseInstant(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	if strings.Trim(s, "0123456789") == "" && len(s) != 4 {
		sec, err := strconv.ParseInt(s, 10, 64)
		if err != nil || sec > 9_000_000_000 {
			return 0, false
		}
		return sec * int64(time.Second), true
	}
	if len(s) == 4 {
		t, err := time.Parse("2006", s)
		return t.UnixNano(), err == nil
	}
	for _, layout := range instantLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UnixNano(), true
		}
	}
	return 0, false
}

func parseBool(s string) (value, ok bool) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, true
	case strings.EqualFold(s, "false"):
		return false, true
	}
	return false, false
}

// parseNetwork reads an address or a CIDR block of either family.
func parseNetwork(s string) (netip.Prefix, bool) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return netip.Prefix{}, false
		}
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), true
}

package pattern

import "testing"

func TestPattern_Match(t *testing.T) {
	const doc = `{"eventType":"UpdateTrail","n":3,"s":"12","ok":true,"no":false,"nil":null,"a":{"b":"x.y"},"arr":["p","q",{"z":1}],"odd name":"v"}`
	for _, tc := range []struct {
		pattern, message string
		want             bool
	}{
		{"", "anything", true},
		{"  ", "", true},
		{"ERROR", "[ERROR 400] BAD REQUEST", true},
		{"ERROR", "[error 400]", false},
		{"ERROR REQUEST", "[ERROR 400] BAD REQUEST", true},
		{"ERROR ARGUMENTS", "[ERROR 400] BAD REQUEST", false},
		{`"BAD REQUEST"`, "[ERROR 400] BAD REQUEST", true},
		{`"BAD  REQUEST"`, "[ERROR 400] BAD REQUEST", false},
		{`"say \"hi\""`, `they say "hi"`, true},
		{"ERROR -400", "[ERROR 400]", false},
		{"ERROR -400", "[ERROR 401]", true},
		{`-"a b"`, "a b", false},
		{"?ERROR ?WARN", "WARN x", true},
		{"?ERROR ?WARN", "INFO x", false},
		{"INFO ?ERROR ?WARN", "INFO x", true}, // optional terms beside others are ignored
		{"größe", "die größe", true},
		{"%AUTH[A-Z]+%", "UNAUTHORIZED", true},
		{"%^AUTH%", "UNAUTHORIZED", false},

		{`{ $.eventType = "UpdateTrail" }`, doc, true},
		{`{$.eventType="UpdateTrail"}`, doc, true},
		{`{ $.eventType = UpdateTrail }`, doc, true},
		{`{ $.eventType = "Update*" }`, doc, true},
		{`{ $.eventType = "*ate*ail" }`, doc, true},
		{`{ $.eventType = "*x*" }`, doc, false},
		{`{ $.eventType != "Update*" }`, doc, false},
		{`{ $.eventType != "x" }`, doc, true},
		{`{ $.n = 3 }`, doc, true},
		{`{ $.n = 3.0 }`, doc, true},
		{`{ $.n != 3 }`, doc, false},
		{`{ $.n > 2 && $.n < 4 }`, doc, true},
		{`{ $.n >= 4 || $.n <= 2 }`, doc, false},
		{`{ $.n > 2.9e0 }`, doc, true},
		{`{ $.eventType > 1 }`, doc, false},
		{`{ $.ok IS TRUE }`, doc, true},
		{`{ $.no IS FALSE }`, doc, true},
		{`{ $.no is true }`, doc, false},
		{`{ $.nil IS NULL }`, doc, true},
		{`{ $.n IS NULL }`, doc, false},
		{`{ $.missing IS NULL }`, doc, false},
		{`{ $.missing NOT EXISTS }`, doc, true},
		{`{ $.nil NOT EXISTS }`, doc, false},
		{`{ $.missing = "x" }`, doc, false},
		{`{ $.missing != "x" }`, doc, false},
		{`{ $.a.b = "x.y" }`, doc, true},
		{`{ $.arr[0] = "p" }`, doc, true},
		{`{ $.arr[9] = "p" }`, doc, false},
		{`{ $.arr[*] = "q" }`, doc, true},
		{`{ $.arr[2].z = 1 }`, doc, true},
		{`{ $["odd name"] = "v" }`, doc, true},
		{`{ ($.n = 1 || $.n = 3) && $.ok IS TRUE }`, doc, true},
		{`{ $.n = 3 || $.n = 1 && $.n = 2 }`, doc, true}, // && binds closer
		{`{ $.n = 3 }`, "n = 3", false},
		{`{ $.n = 3 }`, `[{"n":3}]`, false},
	} {
		p, err := Parse(tc.pattern)
		if err != nil {
			t.Errorf("Parse(%q): %v", tc.pattern, err)
			continue
		}
		if got := p.Matches(tc.message); got != tc.want {
			t.Errorf("%q on %q: %v, want %v", tc.pattern, tc.message, got, tc.want)
		}
	}
}

var refused = []string{
	`"open`, "-", "?", "[ip, user]", "%open", "%(%", "{", "{}", "{ $ }", "{ $. = 1 }", "{ $.a }", "{ $.a = }",
	`{ $.a < "x" }`, "{ $.a < x }", "{ ($.a = 1 }", "{ $.a = 1 ) }", "{ $.a[ = 1 }", "{ $.a[x] = 1 }",
	"{ $.a = 1 $.b = 2 }", "{ a = 1 }", `{ $.a = "x }`, "{ $.a IS }",
}

func TestParse_RefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, text := range refused {
		if p, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %+v, want an error", text, p)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range append(refused, "", "a -b ?c", `{ $.a[*].b = "x*" && ($.c > 1 || $.d IS NULL) }`) {
		f.Add(s, `{"a":[{"b":"x"}],"c":2}`)
	}
	f.Fuzz(func(_ *testing.T, pattern, message string) {
		if p, err := Parse(pattern); err == nil {
			p.Matches(message)
		}
	})
}

package logs

import (
	"fmt"
	"strconv"
	"strings"

	"davy/internal/state"
)

// A token is a direction, a cursor and a mark, as AWS's look:
// f/TTTTTTTTTTTTTTTTTTTTSSSSSSSSSSSSSSSSSSSS/s, T the timestamp and S the
// sequence, 20 digits each.
const digits = 20

func token(direction byte, c state.Cursor) *string {
	return new(fmt.Sprintf("%c/%0*d%0*d/s", direction, digits, c.Timestamp, digits, c.Seq))
}

func parseToken(t string, directions string) (direction byte, c state.Cursor, err error) {
	bad := invalid("The specified nextToken is invalid.")
	if len(t) != 2*digits+4 || !strings.HasSuffix(t, "/s") || t[1] != '/' || !strings.Contains(directions, t[:1]) {
		return 0, c, bad
	}
	var perr error
	read := func(s string) (n int64) {
		if strings.Trim(s, "0123456789") != "" {
			perr = bad
			return 0
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			perr = bad
		}
		return n
	}
	c.Timestamp, c.Seq = read(t[2:2+digits]), read(t[2+digits:2+2*digits])
	return t[0], c, perr
}

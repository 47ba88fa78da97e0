package lambda

import "testing"

// What was read before a change must not be kept after it.
func TestCache_TicketOfAnOldRead(t *testing.T) {
	c, k := newCache(10), key{"a", "r", "fn"}
	ticket := c.take()
	c.drop(k) // somebody committed meanwhile
	c.put(k, &entry{}, ticket)
	c.putReserved("a", "r", 1, ticket)
	if _, ok := c.getReserved("a", "r"); ok || c.get(k) != nil {
		t.Error("an old state was kept")
	}
	ticket = c.take()
	c.put(k, &entry{}, ticket)
	c.putReserved("a", "r", 1, ticket)
	if n, ok := c.getReserved("a", "r"); !ok || n != 1 || c.get(k) == nil {
		t.Error("the present state was not kept")
	}
	for _, doc := range []string{k.function(), k.version("1"), concurrencyKey("a", "r")} {
		ticket = c.take()
		c.putReserved("a", "r", 1, ticket)
		c.put(k, &entry{}, ticket)
		c.invalidate(doc)
		if _, ok := c.getReserved("a", "r"); ok || doc != concurrencyKey("a", "r") && c.get(k) != nil {
			t.Errorf("%s changed and the cache does not care", doc)
		}
	}
	c.invalidate("lambda/watch")
	c.invalidate("lambda/code/x")
}

package execenv

import (
	"errors"
	"time"
)

// ErrBurst tells that a function has got as many new environments as AWS gives
// it in so short a time.
var ErrBurst = errors.New("execenv: too many new environments at once")

// How fast a function can scale. What is not used does not add up.
// https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html
const (
	burstSize   = 1000
	burstPeriod = 10 * time.Second
)

// bursts is the right of each function to new environments: a bucket of tokens
// that fills continuously. The zero value is ready; its user guards it.
type bursts struct {
	buckets map[string]*bucket // by unqualified ARN; one that is missing is full
}

type bucket struct {
	tokens float64
	at     time.Time // when they were so many
}

// maxBuckets is how many are kept before full ones are searched for.
const maxBuckets = 1024

// take uses one token. It reports false when there is none.
func (b *bursts) take(function string, now time.Time) bool {
	k := b.buckets[function]
	if k == nil {
		if len(b.buckets) >= maxBuckets {
			b.forget(now)
		}
		if b.buckets == nil {
			b.buckets = map[string]*bucket{}
		}
		k = &bucket{burstSize, now}
		b.buckets[function] = k
	}
	k.fill(now)
	if k.tokens < 1 {
		return false
	}
	k.tokens--
	return true
}

// refund gives a token back that was not used.
func (b *bursts) refund(function string, now time.Time) {
	if k := b.buckets[function]; k != nil {
		k.fill(now)
		k.tokens = min(burstSize, k.tokens+1)
	}
}

func (k *bucket) fill(now time.Time) {
	k.tokens = min(burstSize, k.tokens+burstSize*now.Sub(k.at).Seconds()/burstPeriod.Seconds())
	k.at = now
}

// forget drops full buckets.
func (b *bursts) forget(now time.Time) {
	for function, k := range b.buckets {
		if k.fill(now); k.tokens == burstSize {
			delete(b.buckets, function)
		}
	}
}

package egress_test

import "github.com/miekg/dns"

func query(name string) *dns.Msg { return new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA) }

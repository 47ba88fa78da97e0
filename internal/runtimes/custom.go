package runtimes

// launchCustom describes a runtime that comes with the function, which execenv
// finds in its code. Its programs trust the authority for every name: only
// AWS's lead anywhere.
func (s *Store) launchCustom(r Runtime, boot string) Launch {
	l := Launch{
		Runtime: r,
		Version: r.Name[len(r.Family)+1:],
		Env:     commonEnv(),
		Mounts:  []Mount{{Source: boot, Target: RuntimeDir}},
	}
	if len(s.cfg.CAPEM) > 0 {
		l.Env = append(l.Env, "SSL_CERT_FILE="+CAFile, "AWS_CA_BUNDLE="+CAFile)
	}
	return l
}

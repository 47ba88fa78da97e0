package runtimes

// launchCustom describes a runtime that comes with the function, which execenv
// finds in its code. Its programs trust the authority and the public ones by
// the variables that OpenSSL, Go and the AWS SDKs read: nothing of Davy's runs
// in them that could tell names apart.
func (s *Store) launchCustom(r Runtime, boot string) Launch {
	l := Launch{
		Runtime: r,
		Version: r.Name[len(r.Family)+1:],
		Env:     commonEnv(),
		Mounts:  []Mount{{Source: boot, Target: RuntimeDir}},
	}
	if len(s.cfg.CAPEM) > 0 {
		l.Env = append(l.Env, "SSL_CERT_FILE="+BundleFile, "AWS_CA_BUNDLE="+BundleFile)
	}
	return l
}

package awsapi

type index struct{}

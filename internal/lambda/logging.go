package lambda

import (
	"davy/api/lambdaapi"
)

// structured are the levels of a log in JSON. Less grave lines are left out.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
type structured struct {
	Application lambdaapi.ApplicationLogLevel
	System      lambdaapi.SystemLogLevel
}

// log applies what is wanted of a version's log. What is not mentioned stays.
func (v *version) log(c *lambdaapi.LoggingConfig) error {
	if c.LogGroup != nil {
		v.LogGroup = *c.LogGroup
	}
	levels := v.Logging
	if c.LogFormat != nil {
		if levels = nil; *c.LogFormat == lambdaapi.LogFormatJson {
			levels = &structured{lambdaapi.ApplicationLogLevelInfo, lambdaapi.SystemLogLevelInfo}
			if v.Logging != nil {
				*levels = *v.Logging
			}
		}
	}
	if levels == nil {
		if c.ApplicationLogLevel != nil || c.SystemLogLevel != nil {
			return invalid("ApplicationLogLevel and SystemLogLevel can be set only if the LogFormat is JSON.")
		}
		v.Logging = nil
		return nil
	}
	wanted := *levels // which a published version may share
	if c.ApplicationLogLevel != nil {
		wanted.Application = *c.ApplicationLogLevel
	}
	if c.SystemLogLevel != nil {
		wanted.System = *c.SystemLogLevel
	}
	v.Logging = &wanted
	return nil
}

// loggingConfig shows what log does.
func (v *version) loggingConfig() *lambdaapi.LoggingConfig {
	c := &lambdaapi.LoggingConfig{LogFormat: new(lambdaapi.LogFormatText), LogGroup: new(v.LogGroup)}
	if v.Logging != nil {
		c.LogFormat = new(lambdaapi.LogFormatJson)
		c.ApplicationLogLevel, c.SystemLogLevel = new(v.Logging.Application), new(v.Logging.System)
	}
	return c
}

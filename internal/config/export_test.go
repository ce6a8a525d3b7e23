package config

// Defaults gives the default of each variable, "" for none.
func Defaults() map[string]string {
	defaults := map[string]string{}
	each(func(name, byDefault string) { defaults[name] = byDefault })
	return defaults
}

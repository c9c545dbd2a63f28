package rfc9111

import "github.com/dunglas/httpsfv"

// Groups returns the members of Cache-Groups or Cache-Group-Invalidation, whichever is named: a list of strings, whose parameters
// mean nothing (RFC 9875, 2 and 3). One that does not parse, or has a member that is no string, counts as absent (RFC 9651, 4.2).
func Groups(f Fields, name string) []string {
	value, lines := f.Field(name)
	if lines == 0 {
		return nil
	}
	list, err := httpsfv.UnmarshalList([]string{value})
	if err != nil {
		return nil
	}
	groups := make([]string, 0, len(list))
	for _, member := range list {
		item, ok := member.(httpsfv.Item)
		if !ok {
			return nil
		}
		group, ok := item.Value.(string)
		if !ok {
			return nil
		}
		groups = append(groups, group)
	}
	return groups
}

// GroupOf names a group of an origin: groups of the same name at two origins are two groups (RFC 9875, 2.1).
func GroupOf(t *Target, group string) string { return t.Scheme + "://" + t.Host + " " + group }

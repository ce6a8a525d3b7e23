package api

import (
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// The tags that operations have, one each.
const (
	tagCounts    = "counts"
	tagLists     = "lists"
	tagQuery     = "query"
	tagHistory   = "history"
	tagChanges   = "changes"
	tagWebhooks  = "webhooks"
	tagReminders = "reminders"
	tagOperation = "operation"
	tagErasure   = "erasure"
)

// describedTags lists the tags in the order in which the document and its page have them.
func describedTags() []*huma.Tag {
	return []*huma.Tag{
		{Name: tagCounts, Description: "The badge of a user, the count of a user in a group, and the sums of a group."},
		{Name: tagLists, Description: "The groups of a user, the readers of a group, all users and all groups, in pages."},
		{Name: tagQuery, Description: "Many counts and badges at once, as of one moment where the database is one server."},
		{Name: tagHistory, Description: "The receipts that OpenIM has sent, the newest first. Counts as they were at a moment are under " + tagCounts + ", with `at`."},
		{Name: tagChanges, Description: "What has changed since a cursor, for whoever keeps a copy or shows counts as they change."},
		{Name: tagWebhooks, Description: "Addresses to which changes are delivered, signed."},
		{Name: tagReminders, Description: "Rules by which users are reminded of what stays unread."},
		{Name: tagOperation, Description: "What comes in, what is refused, what is not well, and how well the counts agree with OpenIM's."},
		{Name: tagErasure, Description: "What is known of a user or a group is removed for good. It cannot be undone."},
	}
}

// tagRank gives the place of a tag in that order; one that is not there comes last.
func tagRank(name string) int {
	rank := slices.IndexFunc(describedTags(), func(tag *huma.Tag) bool { return tag.Name == name })
	if rank < 0 {
		return len(describedTags())
	}
	return rank
}

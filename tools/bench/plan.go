package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// demand is a load. Rates are per second, over a whole day.
type demand struct {
	Users         float64 `json:"users"`
	GroupsPerUser float64 `json:"groupsPerUser"`
	UsersPerGroup float64 `json:"usersPerGroup"`
	Receipts      float64 `json:"receipts"`
	Messages      float64 `json:"messages"`
	Pairs         float64 `json:"pairs"`
	Badges        float64 `json:"badges"`
	// Peak is how many times those rates the busiest minute has: processors and WAL must bear it, disks need not.
	Peak          float64 `json:"peak"`
	RetentionDays float64 `json:"retentionDays"`
	ChangesHours  float64 `json:"changesHours"`
	Copies        float64 `json:"copies"`
}

func usualDemand() demand {
	return demand{
		Users: 1e6, GroupsPerUser: 20, UsersPerGroup: 50, Receipts: 500, Messages: 100, Pairs: 500, Badges: 500,
		Peak: 3, RetentionDays: 90, ChangesHours: 24, Copies: 2,
	}
}

// server is a machine for PostgreSQL.
type server struct {
	Cores   float64 `json:"cores"`
	DiskTB  float64 `json:"diskTB"`
	WALMBps float64 `json:"walMBps"`
	// Fill is how much of it may be used.
	Fill float64 `json:"fill"`
}

func usualServer() server { return server{Cores: 16, DiskTB: 4, WALMBps: 200, Fill: 0.5} }

// plan is what a load takes.
type plan struct {
	Demand demand `json:"demand"`
	Server server `json:"server"`
	// Sizes are bytes on the disk of one copy.
	States        float64 `json:"states"`
	StatesBytes   float64 `json:"statesBytes"`
	PositionBytes float64 `json:"positionsBytes"`
	JournalBytes  float64 `json:"journalBytes"`
	JournalPerDay float64 `json:"journalBytesPerDay"`
	ChangesBytes  float64 `json:"changesBytes"`
	DiskBytes     float64 `json:"diskBytes"`
	WALPerDay     float64 `json:"walBytesPerDay"`
	WALPerSecond  float64 `json:"walBytesPerSecondAtPeak"`
	// CacheBytes holds all states in the memory of one process.
	CacheBytes float64 `json:"cacheBytes"`
	// Cores are busy at the peak, bare.
	ReadmarkCores   float64 `json:"readmarkCoresAtPeak"`
	PostgreSQLCores float64 `json:"postgresqlCoresAtPeak"`
	// Shares are how much of one server each resource would take, the largest first.
	Shares []share `json:"shares"`
	// Servers hold the data once; with all copies there are AllServers.
	Servers    int `json:"servers"`
	AllServers int `json:"allServers"`
	// OneServerDays is for how many days one server could keep the journal, where only the journal asks for more; 0: else.
	OneServerDays float64 `json:"oneServerRetentionDays,omitempty"`
}

// share is how much of one server's resource a load takes: 1 is all of it.
type share struct {
	Resource string  `json:"resource"`
	Share    float64 `json:"share"`
}

const (
	disk = "disk"
	day  = 24 * 60 * 60
	// cachedStateBytes is what a state takes in memory, among others of its user and of its group: docs/performance.md.
	cachedStateBytes = 78
	// callbacksPerMessage is what OpenIM sends, before a message is stored and after, and a journal row each.
	callbacksPerMessage = 2
)

// plan works out what a load takes.
func (c *costs) plan(d *demand, s *server) *plan {
	p := &plan{Demand: *d, Server: *s}
	p.States = d.Users * d.GroupsPerUser
	p.StatesBytes, p.CacheBytes = p.States*c.StateBytes, p.States*cachedStateBytes
	p.PositionBytes = p.States / d.UsersPerGroup * c.PositionBytes
	events := d.Receipts + callbacksPerMessage*d.Messages
	p.JournalPerDay = events * day * c.JournalBytes
	p.JournalBytes = p.JournalPerDay * d.RetentionDays
	p.ChangesBytes = events * d.ChangesHours * 60 * 60 * c.ChangeBytes
	p.DiskBytes = p.StatesBytes + p.PositionBytes + p.JournalBytes + p.ChangesBytes
	wal := d.Receipts*c.ReceiptWAL + d.Messages*c.MessageWAL
	p.WALPerDay, p.WALPerSecond = wal*day, wal*d.Peak
	atPeak := func(of func(cpu) float64) float64 {
		each := d.Receipts*of(c.Receipt) + d.Messages*of(c.Message) + d.Pairs*of(c.Pair) + d.Badges*of(c.Badge)
		return each / 1e6 * d.Peak
	}
	p.ReadmarkCores = atPeak(func(used cpu) float64 { return used.Readmark })
	p.PostgreSQLCores = atPeak(func(used cpu) float64 { return used.PostgreSQL })
	p.Shares = []share{
		{"processors", p.PostgreSQLCores / s.Cores}, {disk, p.DiskBytes / (s.DiskTB * 1e12)}, {"WAL", p.WALPerSecond / (s.WALMBps * 1e6)},
	}
	slices.SortStableFunc(p.Shares, func(a, b share) int { return cmp.Compare(b.Share, a.Share) })
	p.Servers = max(1, int(math.Ceil(p.Shares[0].Share/s.Fill)))
	p.AllServers = p.Servers * int(math.Ceil(d.Copies))
	if room := s.DiskTB*1e12*s.Fill - (p.DiskBytes - p.JournalBytes); p.Servers > 1 && p.Shares[0].Resource == disk && p.Shares[1].Share <= s.Fill {
		p.OneServerDays = max(0, math.Floor(room/p.JournalPerDay))
	}
	return p
}

// String is the plan for people.
func (p *plan) String() string {
	d, s := &p.Demand, &p.Server
	var b strings.Builder
	fmt.Fprintf(&b, "%s users in %s groups each, %s states; per second %s receipts, %s messages, %s pairs and %s badges read; %s times that at the peak\n\n",
		count(d.Users), count(d.GroupsPerUser), count(p.States), count(d.Receipts), count(d.Messages), count(d.Pairs), count(d.Badges), count(d.Peak))
	rows := [][]string{
		{"states", size(p.StatesBytes), "and " + size(p.PositionBytes) + " for positions of groups"},
		{"journal", size(p.JournalBytes), size(p.JournalPerDay) + " a day, kept for " + count(d.RetentionDays) + " days"},
		{"changes", size(p.ChangesBytes), "kept for " + count(d.ChangesHours) + " hours"},
		{"disk", size(p.DiskBytes), size(p.DiskBytes*d.Copies) + " for " + count(d.Copies) + " copies"},
		{"WAL", size(p.WALPerDay) + " a day", size(p.WALPerSecond) + "/s at the peak"},
		{"PostgreSQL", cores(p.PostgreSQLCores), "at the peak, bare"},
		{"Readmark", cores(p.ReadmarkCores), "at the peak, bare; " + size(p.CacheBytes) + " of memory in a process that is to hold all states"},
	}
	b.WriteString(align(rows))
	fmt.Fprintf(&b, "\nof one server with %s cores, %s TB and %s MB/s of WAL:", count(s.Cores), strconv.FormatFloat(s.DiskTB, 'g', -1, 64), count(s.WALMBps))
	for i, one := range p.Shares {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, " %s %.0f %%", one.Resource, one.Share*100)
	}
	fmt.Fprintf(&b, "\nat most %.0f %% of a server is to be used: ", s.Fill*100)
	if p.Servers == 1 {
		b.WriteString("one PostgreSQL will do")
	} else {
		fmt.Fprintf(&b, "Citus with %d workers and %d shards", p.Servers, 2*p.Servers)
	}
	fmt.Fprintf(&b, ", %d servers with all copies; %s saturates first\n", p.AllServers, p.Shares[0].Resource)
	if p.OneServerDays >= 1 {
		fmt.Fprintf(&b, "one PostgreSQL will do where the journal is kept for %s days\n", count(p.OneServerDays))
	}
	return b.String()
}

// table shows plans for the same users in smaller and larger numbers, in Markdown.
func (c *costs) table(d *demand, s *server) string {
	var b strings.Builder
	b.WriteString("| users | states | receipts/s | messages/s | states on disk | journal and changes | WAL a day | PostgreSQL | Readmark | servers | saturates first |\n")
	b.WriteString("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
	for _, times := range []float64{0.1, 1, 3, 10, 30, 100} {
		p := c.plan(d.times(times), s)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %d | %s, %.0f %% |\n", count(p.Demand.Users), count(p.States),
			count(p.Demand.Receipts), count(p.Demand.Messages), size(p.StatesBytes), size(p.JournalBytes+p.ChangesBytes), size(p.WALPerDay),
			cores(p.PostgreSQLCores), cores(p.ReadmarkCores), p.Servers, p.Shares[0].Resource, p.Shares[0].Share*100)
	}
	return b.String()
}

// times gives the demand of so many times the users.
func (d *demand) times(n float64) *demand {
	larger := *d
	for _, rate := range []*float64{&larger.Users, &larger.Receipts, &larger.Messages, &larger.Pairs, &larger.Badges} {
		*rate *= n
	}
	return &larger
}

// size writes bytes in decimal units, as disks are sold.
func size(bytes float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for ; bytes >= 999.5 && i < len(units)-1; i++ {
		bytes /= 1000
	}
	if bytes < 9.95 && i > 0 {
		return fmt.Sprintf("%.1f %s", bytes, units[i])
	}
	return fmt.Sprintf("%.0f %s", bytes, units[i])
}

// count writes a number with words for what is large.
func count(n float64) string {
	for _, unit := range []struct {
		value float64
		word  string
	}{{1e9, " billion"}, {1e6, " million"}} {
		if n >= unit.value {
			return strconv.FormatFloat(math.Round(n/unit.value*100)/100, 'f', -1, 64) + unit.word
		}
	}
	if n >= 1000 {
		whole := strconv.FormatFloat(math.Round(n), 'f', 0, 64)
		return whole[:len(whole)-3] + "," + whole[len(whole)-3:]
	}
	return strconv.FormatFloat(math.Round(n*100)/100, 'f', -1, 64)
}

// cores writes how many processors are busy.
func cores(n float64) string {
	switch {
	case n < 0.995:
		return fmt.Sprintf("%.2f cores", n)
	case n < 9.95:
		return fmt.Sprintf("%.1f cores", n)
	default:
		return count(math.Round(n)) + " cores"
	}
}

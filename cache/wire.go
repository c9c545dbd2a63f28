package cache

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// wire is what a frame in the remote tier holds of an entry beside its body. Instants are nanoseconds since 1970, by the wall clock
// of the instance that stored it. A name is never given a second meaning; what a reader does not know it passes over.
type wire struct {
	Key          octets     `json:"key" msgpack:"k"`
	URI          octets     `json:"uri" msgpack:"u"`
	Rule         uint64     `json:"rule" msgpack:"r"`
	Named        bool       `json:"named" msgpack:"n"`
	Status       int        `json:"status" msgpack:"s"`
	Flags        uint16     `json:"flags" msgpack:"f"`
	Request      int64      `json:"request_time" msgpack:"q"`
	Response     int64      `json:"response_time" msgpack:"p"`
	Date         int64      `json:"date" msgpack:"d"`
	Retain       int64      `json:"retain" msgpack:"t"`
	InitialAge   int64      `json:"initial_age" msgpack:"a"`
	Lifetime     int64      `json:"lifetime" msgpack:"l"`
	StaleWhile   int64      `json:"stale_while_revalidate" msgpack:"w"`
	StaleIf      int64      `json:"stale_if_error" msgpack:"e"`
	ETag         octets     `json:"etag,omitempty" msgpack:"g,omitempty"`
	LastModified octets     `json:"last_modified,omitempty" msgpack:"m,omitempty"`
	Vary         []wireVary `json:"vary,omitempty" msgpack:"v,omitempty"`
	Head         []wireLine `json:"head" msgpack:"h"`
	Concealed    []wireLine `json:"concealed,omitempty" msgpack:"c,omitempty"`
	RuleTags     []octets   `json:"rule_tags,omitempty" msgpack:"rt,omitempty"`
	Tags         []octets   `json:"tags,omitempty" msgpack:"tg,omitempty"`
	Groups       []octets   `json:"groups,omitempty" msgpack:"gr,omitempty"`
	Depends      []octets   `json:"depends_on,omitempty" msgpack:"do,omitempty"`
}

type wireVary struct {
	Name    octets `json:"name" msgpack:"n"`
	Value   octets `json:"value" msgpack:"v"`
	Present bool   `json:"present" msgpack:"p"`
}

type wireLine struct {
	Name  octets `json:"name" msgpack:"n"`
	Value octets `json:"value" msgpack:"v"`
}

// octets are the bytes of a text. JSON has them as a string where they are one, and else in base64 within a list, so that field values
// which are no UTF-8 come back as they were.
type octets []byte

// MarshalJSON implements json.Marshaler.
func (o octets) MarshalJSON() ([]byte, error) {
	if utf8.Valid(o) {
		return json.Marshal(string(o))
	}
	return json.Marshal([]string{base64.StdEncoding.EncodeToString(o)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *octets) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var s string
		err := json.Unmarshal(b, &s)
		*o = octets(s)
		return err
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	if len(list) != 1 {
		return fmt.Errorf("a text of %d parts", len(list))
	}
	raw, err := base64.StdEncoding.DecodeString(list[0])
	*o = raw
	return err
}

// wireOf returns what is to be kept of e.
func wireOf(e *Entry, named bool) *wire {
	m := e.Meta()
	w := &wire{
		Key: e.Key().Text, URI: e.URI(), Rule: e.Rule, Named: named, Status: m.Status, Flags: uint16(m.Flags),
		Request: m.RequestTime.UnixNano(), Response: m.ResponseTime.UnixNano(), Date: m.Date.UnixNano(), Retain: m.Retain.UnixNano(),
		InitialAge: int64(m.InitialAge), Lifetime: int64(m.Lifetime),
		StaleWhile: int64(m.StaleWhileRevalidate), StaleIf: int64(m.StaleIfError),
		ETag: octets(m.Validators.ETag), LastModified: octets(m.Validators.LastModified),
	}
	for _, v := range m.Vary {
		w.Vary = append(w.Vary, wireVary{octets(v.Name), octets(v.Value), v.Present})
	}
	for name, value := range e.Concealed() {
		w.Concealed = append(w.Concealed, wireLine{octets(name), octets(value)})
	}
	header := e.Header() // without what was added to Vary here
	delete(header, "Content-Length")
	for _, l := range w.Concealed {
		delete(header, string(l.Name))
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			w.Head = append(w.Head, wireLine{octets(name), octets(value)})
		}
	}
	labels := e.Labels()
	for i, list := range labels.lists() {
		for _, s := range *list {
			*w.lists()[i] = append(*w.lists()[i], octets(s))
		}
	}
	return w
}

// lists are the labels in the order of Labels.lists.
func (w *wire) lists() [4]*[]octets {
	return [...]*[]octets{&w.RuleTags, &w.Tags, &w.Groups, &w.Depends}
}

func (w *wire) labels() *Labels {
	l := &Labels{}
	for i, list := range l.lists() {
		for _, s := range *w.lists()[i] {
			*list = append(*list, string(s))
		}
	}
	return l
}

// parts returns what an entry is made of, or false where it is not what was looked for or makes no sense. Where the clock of the
// instance that stored it is ahead of ours, all is moved to now: it must not live longer for that.
func (w *wire) parts(key rfc9111.Key, rule uint64, body []byte, now time.Time) (*Parts, bool) {
	if !bytes.Equal(w.Key, key.Text) || w.Rule != rule || w.Status < 200 || w.Status > 999 || w.Response < w.Request ||
		rfc9111.Flags(w.Flags)&rfc9111.Partial != 0 || w.InitialAge < 0 || w.Lifetime < 0 || w.StaleWhile < 0 || w.StaleIf < 0 {
		return nil, false
	}
	ahead := max(w.Response-now.UnixNano(), 0)
	at := func(n int64) time.Time { return time.Unix(0, n-ahead) }
	p := &Parts{
		Key: key, URI: w.URI, Rule: w.Rule, Body: body, Header: make(http.Header, len(w.Head)), Labels: w.labels(),
		Meta: rfc9111.Meta{
			RequestTime: at(w.Request), ResponseTime: at(w.Response), Date: time.Unix(0, w.Date), Retain: at(w.Retain),
			InitialAge: time.Duration(w.InitialAge), Lifetime: time.Duration(w.Lifetime),
			StaleWhileRevalidate: time.Duration(w.StaleWhile), StaleIfError: time.Duration(w.StaleIf),
			Validators: rfc9111.Validators{ETag: string(w.ETag), LastModified: string(w.LastModified)},
			Status:     w.Status, Flags: rfc9111.Flags(w.Flags),
		},
	}
	for _, v := range w.Vary {
		p.Meta.Vary = append(p.Meta.Vary, rfc9111.VaryField{Name: string(v.Name), Value: string(v.Value), Present: v.Present})
	}
	for _, l := range w.Head {
		name := string(l.Name)
		p.Header[name] = append(p.Header[name], string(l.Value))
	}
	for _, l := range w.Concealed {
		if p.Concealed == nil {
			p.Concealed = http.Header{}
		}
		p.Concealed[string(l.Name)] = append(p.Concealed[string(l.Name)], string(l.Value))
	}
	return p, true
}

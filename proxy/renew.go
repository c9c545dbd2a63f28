package proxy

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/url"
	"sync"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// renewal is a response that is to be fetched anew without a client who asks for it.
type renewal struct {
	target rfc9111.Target
	header http.Header // the fields by which it was chosen
	vary   []rfc9111.VaryField
	key    [16]byte // under which it is stored; zero: nothing is
}

// renewalsUnder returns what is stored under key in memory.
func (p *Proxy) renewalsUnder(key [16]byte) (renewals []renewal) {
	for _, stored := range p.cache.Under(key) {
		target, err := rfc9111.ParseURL(string(stored.URI()))
		if err != nil {
			continue // its route keeps the host out of the key: nobody knows which host to ask for
		}
		r := renewal{target: target, header: http.Header{}, key: key}
		for v := range stored.VariesBy() {
			r.vary = append(r.vary, v)
			if v.Present {
				r.header[v.Name] = []string{v.Value}
			}
		}
		renewals = append(renewals, r)
	}
	return renewals
}

// renewalsOf returns what is stored of the targets, and each target itself where nothing is.
func (p *Proxy) renewalsOf(targets []target, keys [][16]byte) (renewals []renewal) {
	for _, key := range keys {
		renewals = append(renewals, p.renewalsUnder(key)...)
	}
	for _, t := range targets {
		stored := false
		for i := range renewals {
			at := &renewals[i].target
			stored = stored || at.Host == t.Host && at.Path == t.Path && (t.both || at.Scheme == t.Scheme)
		}
		if !stored {
			renewals = append(renewals, renewal{target: t.Target, header: http.Header{}})
		}
	}
	return renewals
}

// renew begins to fetch the responses anew, and returns for how many it did: not for what is being fetched already, what no request
// without a client leads to, and what there is no room for. Where several instances share a remote tier, one of them fetches.
func (p *Proxy) renew(renewals []renewal) (begun int) {
	for i := range renewals {
		if p.renewOne(&renewals[i]) {
			begun++
		}
	}
	return begun
}

func (p *Proxy) renewOne(r *renewal) bool {
	x := p.begin(nobody{}, r.request())
	defer x.release()
	if !x.accept() || !x.match() || x.route.Off || x.route.Bypass(&x.view) {
		return false
	}
	x.prepare()
	if r.key != ([16]byte{}) && x.query.Key.Hash != r.key {
		return false // more is in the key than is known of the request
	}
	x.outcome = p.cache.Find(&x.query)
	hash := x.fillHash()
	if len(r.vary) > 0 {
		hash = x.varyHash(r.vary)
	}
	f := x.registerRefresh(hash)
	if f == nil {
		return false
	}
	f.claim = f.share != nil && x.route.CollapseWait > 0
	f.start()
	return true
}

// request is that which a client would have sent.
func (r *renewal) request() *http.Request {
	uri := r.target.RequestURI()
	u, err := url.ParseRequestURI(uri)
	if err != nil {
		u = &url.URL{Path: r.target.Path} // the target is in normal form, and goes by RequestURI
	}
	q := &http.Request{
		Method: http.MethodGet, URL: u, RequestURI: uri, Host: r.target.Host, Header: r.header, Body: http.NoBody,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if r.target.Scheme == "https" {
		q.TLS = &tls.ConnectionState{}
	}
	return q.WithContext(context.Background())
}

// nobody is the client of a renewal.
type nobody struct{}

func (nobody) Header() http.Header         { return http.Header{} }
func (nobody) Write(b []byte) (int, error) { return len(b), nil }
func (nobody) WriteHeader(int)             {}

// drops remember what the last smart purges have done on this instance, for the receipts of those that were asked for here.
type drops struct {
	mu    sync.Mutex // guards the following
	last  [32]applied
	write int
}

// applied is what a record has done here.
type applied struct {
	at         invalidation.Position
	hot        [][16]byte // keys
	refreshing int
}

func (d *drops) note(a applied) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last[d.write%len(d.last)] = a
	d.write++
}

func (d *drops) of(at invalidation.Position) applied {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.last {
		if a.at == at && at.Seq > 0 {
			return a
		}
	}
	return applied{}
}

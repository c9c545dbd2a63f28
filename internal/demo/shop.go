package demo

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed page.html
var pageSource string

var pageTemplate = template.Must(template.New("page").Parse(pageSource))

// A product is one thing in the shop. Its version is in its validators.
type product struct {
	ID      int
	Name    string
	Price   float64 // in euro
	Version int
	Changed time.Time // whole seconds, as Last-Modified has them
}

// shop holds all that changes. Its methods are safe for concurrent use.
type shop struct {
	logo   []byte
	opened time.Time

	mu       sync.Mutex // guards what follows
	products []product
	asked    int            // requests in all
	askedFor map[string]int // by path
	down     bool
}

// Handler returns a new shop.
func Handler() http.Handler {
	s := &shop{
		logo:     drawLogo(),
		opened:   time.Now().UTC().Truncate(time.Second),
		askedFor: make(map[string]int),
	}
	for i, name := range []string{"Teapot", "Bicycle bell", "Folding chair", "Fountain pen", "Wool blanket", "Storm lantern"} {
		s.products = append(s.products, product{ID: i + 1, Name: name, Price: 12.5 + 7.25*float64(i), Version: 1, Changed: s.opened})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /products/{id}", s.showProduct)
	mux.HandleFunc("POST /products/{id}", s.changeProduct)
	mux.HandleFunc("GET /api/prices", s.prices)
	mux.HandleFunc("GET /login", s.askLogin)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("GET /account", s.account)
	mux.HandleFunc("GET /slow", s.slow)
	mux.HandleFunc("GET /images/logo.svg", s.picture)
	mux.HandleFunc("POST /admin/down", s.toggleDown)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.show(w, r, page{Status: http.StatusNotFound, Title: "Not here", Text: "The shop has no such page."})
	})
	return s.door(mux)
}

// door counts, and while the shop is down breaks every connection, as a dead
// server would; only the switch itself still works.
func (s *shop) door(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked++
		if len(s.askedFor) < 1000 || s.askedFor[r.URL.Path] > 0 { // invented paths must not fill the memory
			s.askedFor[r.URL.Path]++
		}
		down := s.down
		s.mu.Unlock()
		if down && r.URL.Path != "/admin/down" {
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, r)
	})
}

// A page is what the template shows.
type page struct {
	Status   int // 0: 200
	Title    string
	Text     string
	Product  *product
	Products []product
	Form     bool // the login form
	Made     string
	Asked    int
	AskedFor int
}

// show writes p. Two copies of a page differ in the time and the counts that
// they show and mean the same, hence the validators of pages are weak (RFC
// 9110, section 8.8.1).
func (s *shop) show(w http.ResponseWriter, r *http.Request, p page) {
	s.mu.Lock()
	p.Asked, p.AskedFor = s.asked, s.askedFor[r.URL.Path]
	s.mu.Unlock()
	p.Made = time.Now().Format("15:04:05.000")
	var body bytes.Buffer
	if err := pageTemplate.Execute(&body, p); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	if p.Status != 0 {
		w.WriteHeader(p.Status)
	}
	w.Write(body.Bytes()) // a client that is gone is no concern of the shop
}

func (s *shop) home(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	products, version := append([]product(nil), s.products...), 0
	s.mu.Unlock()
	for _, p := range products {
		version += p.Version
	}
	w.Header().Set("Cache-Control", "max-age=10, stale-while-revalidate=30")
	if unchanged(w, r, fmt.Sprintf(`W/"home-v%d"`, version-len(products)+1), time.Time{}) {
		return
	}
	s.show(w, r, page{Title: "The small shop", Text: "Fresh for 10 seconds; for 30 more this copy is shown while a new one is fetched behind it.", Products: products})
}

func (s *shop) showProduct(w http.ResponseWriter, r *http.Request) {
	p, ok := s.product(r.PathValue("id"))
	if !ok {
		w.Header().Set("Cache-Control", "max-age=5")
		s.show(w, r, page{Status: http.StatusNotFound, Title: "Sold out", Text: "There is no such product, and that may be remembered for 5 seconds."})
		return
	}
	w.Header().Set("Cache-Control", "max-age=60")
	if unchanged(w, r, fmt.Sprintf(`W/"product-%d-v%d"`, p.ID, p.Version), p.Changed) {
		return
	}
	s.show(w, r, page{Title: p.Name, Text: "Fresh for a minute. Changing the price takes every stored copy of this page away.", Product: &p})
}

func (s *shop) product(id string) (p product, ok bool) {
	n, err := strconv.Atoi(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || n < 1 || n > len(s.products) {
		return product{}, false
	}
	return s.products[n-1], true
}

func (s *shop) changeProduct(w http.ResponseWriter, r *http.Request) {
	p, ok := s.product(r.PathValue("id"))
	price, err := strconv.ParseFloat(r.FormValue("price"), 64)
	switch {
	case !ok:
		http.Error(w, "there is no such product", http.StatusNotFound)
		return
	case err != nil || !(price > 0) || math.IsInf(price, 0):
		http.Error(w, "send a price, such as price=9.99", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	changed := &s.products[p.ID-1]
	changed.Price = price
	changed.Version++
	changed.Changed = time.Now().UTC().Truncate(time.Second)
	s.mu.Unlock()
	w.Header().Set("Location", r.URL.Path)
	w.WriteHeader(http.StatusSeeOther)
	fmt.Fprintf(w, "%s now costs %.2f euro\n", p.Name, price)
}

// prices move by a few cents each second, so that a copy shows its age.
func (s *shop) prices(w http.ResponseWriter, r *http.Request) {
	now := time.Now().UTC()
	s.mu.Lock()
	asked, products := s.askedFor[r.URL.Path], append([]product(nil), s.products...)
	s.mu.Unlock()
	type item struct {
		ID    int     `json:"id"`
		Name  string  `json:"name"`
		Price float64 `json:"price"`
	}
	answer := struct {
		Made   time.Time `json:"made"`
		Asked  int       `json:"asked"`
		Prices []item    `json:"prices"`
	}{Made: now, Asked: asked}
	for _, p := range products {
		move := float64((now.Unix()*int64(p.ID))%100) / 100
		answer.Prices = append(answer.Prices, item{p.ID, p.Name, math.Round(100*(p.Price+move)) / 100})
	}
	w.Header().Set("Cache-Control", "max-age=2, stale-if-error=3600")
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer) // as in show
}

func (s *shop) askLogin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	s.show(w, r, page{Title: "Login", Text: "Any name will do. This page and its answer are never stored.", Form: true})
}

func (s *shop) login(w http.ResponseWriter, r *http.Request) {
	user := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return -1
	}, r.FormValue("user"))
	if user == "" || len(user) > 40 {
		http.Error(w, "send a user of 1 to 40 letters and digits, such as user=alice", http.StatusBadRequest)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.SetCookie(w, &http.Cookie{Name: "user", Value: user, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	w.Header().Set("Location", "/account")
	w.WriteHeader(http.StatusSeeOther)
	fmt.Fprintf(w, "welcome, %s\n", user)
}

func (s *shop) account(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "private")
	who := "nobody; the login is at /login"
	if c, err := r.Cookie("user"); err == nil {
		who = c.Value
	}
	s.show(w, r, page{Title: "Your account", Text: "You are " + who + ". A shared cache keeps no copy of this page."})
}

// slow takes 300 ms, which a hit does not.
func (s *shop) slow(w http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(300 * time.Millisecond):
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Cache-Control", "max-age=30")
	s.show(w, r, page{Title: "Slow", Text: "This took the origin 300 ms. A stored copy takes none of them, for 30 seconds."})
}

func (s *shop) picture(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "max-age=3600")
	w.Header().Set("ETag", `"logo-v1"`)
	http.ServeContent(w, r, "logo.svg", s.opened, bytes.NewReader(s.logo))
}

func (s *shop) toggleDown(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	s.down = !s.down
	down := s.down
	s.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	if down {
		fmt.Fprintln(w, "the origin is down: it breaks every connection until the next POST /admin/down")
		return
	}
	fmt.Fprintln(w, "the origin is up again")
}

// unchanged sets the validators and answers 304 where the request's conditions
// say that the client has this version (RFC 9110, section 13.2.2).
func unchanged(w http.ResponseWriter, r *http.Request, etag string, modified time.Time) bool {
	w.Header().Set("ETag", etag)
	if !modified.IsZero() {
		w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
	}
	var same bool
	if tags := r.Header.Values("If-None-Match"); len(tags) > 0 {
		for tag := range strings.SplitSeq(strings.Join(tags, ","), ",") {
			tag = strings.TrimSpace(tag)
			same = same || tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag, "W/")
		}
	} else if since, err := http.ParseTime(r.Header.Get("If-Modified-Since")); err == nil {
		same = !modified.IsZero() && !modified.After(since)
	}
	if same {
		w.WriteHeader(http.StatusNotModified)
	}
	return same
}

//go:build linux

package load

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
)

// Order says which target is asked for next.
type Order string

// The orders.
const (
	One   Order = "one"   // always the first
	Next  Order = "next"  // each once, from the first on
	Cycle Order = "cycle" // each of Count, and from the first again
	Zipf  Order = "zipf"  // any of Count, the n-th with a probability in proportion to n^-0.99
)

// Targets are the URLs that are asked for: /Store/Delay/SIZE/ID, as [ServeOrigin] understands them.
type Targets struct {
	Order        Order
	Store        string // keep: may be stored for an hour; pass: may not
	Delay        int    // milliseconds that the origin takes
	Least, Most  int    // size of the bodies, in bytes, by the id
	First, Count int    // ids; Count is used by Cycle and Zipf only
}

// drawn is how many draws of Zipf are made in advance; they are used again from the start then.
const drawn = 1 << 20

// chooser makes one request after the other. It allocates at its start only.
type chooser struct {
	Targets
	prefix string
	draws  []uint32
	asked  int // requests made
	buf    []byte
}

func newChooser(t Targets) (*chooser, error) {
	c := &chooser{Targets: t, prefix: fmt.Sprintf("GET /%s/%d/", t.Store, t.Delay), buf: make([]byte, 0, 256)}
	if t.Store != "keep" && t.Store != "pass" || t.Least > t.Most || t.Least < 0 || t.Delay < 0 {
		return nil, fmt.Errorf("these are no targets: %+v", t)
	}
	switch t.Order {
	case One, Next:
	case Cycle, Zipf:
		if t.Count < 1 {
			return nil, fmt.Errorf("%s needs a count", t.Order)
		}
	default:
		return nil, fmt.Errorf("unknown order %q", t.Order)
	}
	if t.Order == Zipf {
		c.draws = draw(t.Count)
	}
	return c, nil
}

// draw returns numbers below n with the probabilities of Zipf's law with the exponent 0.99. They are the same each time.
func draw(n int) []uint32 {
	sums := make([]float64, n)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -0.99)
		sums[i] = sum
	}
	random := rand.New(rand.NewPCG(1, 2))
	draws := make([]uint32, drawn)
	for i := range draws {
		draws[i] = uint32(sort.SearchFloat64s(sums, random.Float64()*sum))
	}
	return draws
}

// next returns a request, which is valid until the following call, and how long the body of its answer has to be.
func (c *chooser) next() (request []byte, length int) {
	id := c.First
	switch c.Order {
	case Next:
		id += c.asked
	case Cycle:
		id += c.asked % c.Count
	case Zipf:
		id += int(c.draws[c.asked%drawn])
	}
	c.asked++
	length = c.size(id)
	b := append(c.buf[:0], c.prefix...)
	b = strconv.AppendInt(b, int64(length), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, int64(id), 10)
	b = append(b, " HTTP/1.1\r\nHost: bench.example\r\n\r\n"...)
	c.buf = b
	return b, length
}

// size spreads the sizes over the ids without a pattern that the popularity of the ids could follow.
func (c *chooser) size(id int) int {
	spread := uint64(c.Most-c.Least) + 1
	return c.Least + int(uint64(id)*0x9E3779B97F4A7C15>>32%spread)
}

// Path returns the path of the target with the id, for clients other than [Run].
func (t Targets) Path(id int) string {
	c := chooser{Targets: t}
	return fmt.Sprintf("/%s/%d/%d/%d", t.Store, t.Delay, c.size(id), id)
}

// object is what a path asks for.
type object struct {
	keep        bool
	delay, size int
}

// parsePath understands what [Targets] make.
func parsePath(path string) (o object, ok bool) {
	store, rest, ok := strings.Cut(path, "/")
	if !ok || store != "keep" && store != "pass" {
		return object{}, false
	}
	delay, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return object{}, false
	}
	size, _, ok := strings.Cut(rest, "/")
	if !ok {
		return object{}, false
	}
	o.keep = store == "keep"
	var err1, err2 error
	o.delay, err1 = strconv.Atoi(delay)
	o.size, err2 = strconv.Atoi(size)
	return o, err1 == nil && err2 == nil && o.delay >= 0 && o.size >= 0
}

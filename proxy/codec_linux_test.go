//go:build !race

package proxy

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klauspost/compress/zstd"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

var (
	record = flag.Bool("record", false, "measure all levels, and write the table into docs/encoding.md")
	// atLeast is how much CPU each row of the table takes.
	atLeast = flag.Duration("row", 20*time.Millisecond, "CPU time to spend on each row of the table of encoders")
)

// sample is one body of the corpus.
type sample struct {
	name string
	body []byte
}

// corpus makes bodies like those of a site: the same in each run.
func corpus() []sample {
	w := &writer{random: rand.New(rand.NewChaCha8([32]byte{7}))}
	return []sample{
		{"HTML", w.text(w.html)}, {"JSON", w.text(w.json)}, {"JavaScript", w.text(w.script)}, {"CSS", w.text(w.css)}, {"SVG", w.text(w.svg)},
		{"random", w.noise(64 << 10)},
	}
}

// writer writes texts of words that are as unevenly spread as those of a language.
type writer struct {
	random *rand.Rand
	words  []string
	zipf   *rand.Zipf
	bytes.Buffer
}

func (w *writer) text(write func()) []byte {
	w.Reset()
	write()
	return bytes.Clone(w.Bytes())
}

func (w *writer) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.random.Uint32())
	}
	return b
}

func (w *writer) word() string {
	if w.words == nil {
		syllables := strings.Fields("ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo yu en or is at st er an th ing ion")
		for range 3000 {
			word := ""
			for range 1 + w.random.IntN(4) {
				word += syllables[w.random.IntN(len(syllables))]
			}
			w.words = append(w.words, word)
		}
		w.zipf = rand.NewZipf(w.random, 1.2, 4, uint64(len(w.words)-1))
	}
	return w.words[w.zipf.Uint64()]
}

func (w *writer) sentence(n int) string {
	words := make([]string, n)
	for i := range words {
		words[i] = w.word()
	}
	return strings.Join(words, " ")
}

func (w *writer) f(format string, args ...any) { fmt.Fprintf(w, format, args...) }

func (w *writer) html() {
	w.f("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>%s</title></head>\n<body>\n<main class=\"list\">\n", w.sentence(5))
	for i := range 120 {
		w.f("  <article class=\"card card--%s\" data-id=\"%d\">\n    <a href=\"/products/%d-%s\"><img src=\"/media/%x.webp\" alt=\"%s\" width=\"320\" height=\"240\" loading=\"lazy\"></a>\n",
			w.word(), 1000+i, 1000+i, w.word(), w.random.Uint64(), w.sentence(3))
		w.f("    <h2>%s</h2>\n    <p>%s.</p>\n    <span class=\"price\">%d.%02d</span>\n  </article>\n", w.sentence(4), w.sentence(30), w.random.IntN(900), w.random.IntN(100))
	}
	w.f("</main>\n</body></html>\n")
}

func (w *writer) json() {
	w.f("{\"items\":[")
	for i := range 300 {
		w.f("{\"id\":%d,\"sku\":\"%08X\",\"name\":%q,\"description\":%q,\"price\":%.2f,\"stock\":%d,\"tags\":[%q,%q],\"updated\":\"2026-%02d-%02dT%02d:%02d:00Z\"},",
			i, w.random.Uint32(), w.sentence(3), w.sentence(12), w.random.Float64()*500, w.random.IntN(80), w.word(), w.word(),
			1+w.random.IntN(12), 1+w.random.IntN(28), w.random.IntN(24), w.random.IntN(60))
	}
	w.f("{}],\"next\":null}")
}

func (w *writer) script() {
	for i := range 500 {
		a, b, c := w.word(), w.word(), w.word()
		w.f("function %s%d(e,t){var n=e.%s;if(n===void 0||n===null)return t;for(var r=0;r<n.length;r++){var o=n[r];o.%s&&t.push(o.%s(%d,%q))}return t}", a, i, b, c, b, w.random.IntN(4096), w.sentence(3))
		w.f("%s.prototype.%s=function(){return this.%s||(this.%s=new %s%d(this.props.%s))};", a, b, c, c, a, w.random.IntN(500), w.word())
	}
}

func (w *writer) css() {
	for range 500 {
		w.f(".%s-%s:hover,.%s>.%s{display:flex;margin:%dpx %dpx;color:#%06x;background-color:rgba(%d,%d,%d,.%d);transition:%s .%ds ease-in-out}\n",
			w.word(), w.word(), w.word(), w.word(), w.random.IntN(40), w.random.IntN(40), w.random.IntN(1<<24), w.random.IntN(256), w.random.IntN(256),
			w.random.IntN(256), w.random.IntN(10), w.word(), w.random.IntN(10))
	}
}

func (w *writer) svg() {
	w.f("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 512 512\">")
	for range 150 {
		w.f("<path fill=\"#%06x\" d=\"M%.2f %.2f", w.random.IntN(1<<24), w.random.Float64()*512, w.random.Float64()*512)
		for range 12 {
			w.f("c%.2f %.2f %.2f %.2f %.2f %.2f", w.random.NormFloat64()*9, w.random.NormFloat64()*9, w.random.NormFloat64()*9,
				w.random.NormFloat64()*9, w.random.NormFloat64()*9, w.random.NormFloat64()*9)
		}
		w.f("z\"/>")
	}
	w.f("</svg>")
}

// level is an encoder that may be chosen.
type level struct {
	coding rfc9111.Coding
	name   string
	make   func() codec
	chosen bool
}

func levels() []level {
	var all []level
	for _, quality := range []int{1, 3, 4, 5, 6, 7, 9, 11} {
		all = append(all, level{rfc9111.Brotli, fmt.Sprint(quality), func() codec { return newBrotli(quality) }, quality == brotliQuality})
	}
	for _, speed := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
		all = append(all, level{rfc9111.Zstd, speed.String(), func() codec { return newZstd(speed) }, speed == zstdLevel})
	}
	for _, n := range []int{1, 3, 5, 6, 7, 9} {
		all = append(all, level{rfc9111.Gzip, fmt.Sprint(n), func() codec { return newGzip(n) }, n == gzipLevel})
	}
	return all
}

// TestEncodersTable measures all levels on the corpus. `make encodings` writes what it finds into docs/encoding.md. In the tests it is
// short, and fails where a chosen encoder does less than it must.
func TestEncodersTable(t *testing.T) {
	runtime.LockOSThread() // CPU time is the thread's: what else runs on the machine does not count
	defer runtime.UnlockOSThread()
	samples := corpus()
	var b strings.Builder
	b.WriteString("| coding | level | CPU ms per MB |")
	for _, s := range samples {
		fmt.Fprintf(&b, " %s |", s.name)
	}
	b.WriteString(" all texts | encoder's memory |\n| --- | --- | ---" + strings.Repeat(" | ---", len(samples)+2) + " |\n| none | | ")
	total := 0
	for _, s := range samples {
		fmt.Fprintf(&b, "| %d ", len(s.body))
		if s.name != "random" {
			total += len(s.body)
		}
	}
	fmt.Fprintf(&b, "| 100 %% | |\n")
	all := levels()
	if !*record {
		all = chosen(all)
	}
	cpu := costs(t, all, samples)
	for i := range all {
		b.WriteString(all[i].row(t, samples, total, cpu[i]))
	}
	t.Log("\n" + b.String())
	if *record && !t.Failed() {
		writeTable(t, b.String())
	}
}

// row says what a level, which takes cpu milliseconds for a megabyte, makes of the samples.
func (l *level) row(t *testing.T, samples []sample, total int, cpu float64) string {
	before := heapInUse()
	w := l.make()
	mark := ""
	if l.chosen {
		mark = "**"
	}
	cells, small := "", 0
	for _, s := range samples {
		encoded, err := encodeBy(context.Background(), w, s.body, len(s.body)-len(s.body)/worthwhile)
		switch {
		case s.name == "random" && err == nil:
			t.Errorf("%s %s: random bytes shrank to %d", l.coding, l.name, len(encoded))
		case s.name == "random":
			cells += "| given up "
			continue
		case err != nil:
			t.Fatalf("%s %s, %s: %v", l.coding, l.name, s.name, err)
		}
		small += len(encoded)
		cells += fmt.Sprintf("| %d ", len(encoded))
	}
	if l.chosen && small > total*35/100 {
		t.Errorf("%s %s: %d of %d bytes", l.coding, l.name, small, total)
	}
	memory := heapInUse() - before
	runtime.KeepAlive(w)
	return fmt.Sprintf("| %s%s%s | %s%s%s | %.1f %s| %.1f %% | %.1f MB |\n",
		mark, l.coding, mark, mark, l.name, mark, cpu, cells, float64(small)*100/float64(total), max(float64(memory), 0)/1e6)
}

// rounds is how often the levels are measured, in turns. The cheapest round of each counts: what else runs on the machine makes the
// others dearer.
const rounds = 8

func chosen(all []level) (some []level) {
	for _, l := range all {
		if l.chosen {
			some = append(some, l)
		}
	}
	return some
}

func costs(t *testing.T, all []level, samples []sample) []float64 {
	least := make([]float64, len(all))
	for round := range rounds {
		for i := range all {
			if ms := cost(t, all[i].make(), samples); round == 0 || ms < least[i] {
				least[i] = ms
			}
		}
	}
	return least
}

// cost returns the CPU milliseconds for a megabyte of the texts.
func cost(t *testing.T, w codec, samples []sample) float64 {
	for _, s := range samples { // so that its tables are there
		_, _ = encodeBy(context.Background(), w, s.body, len(s.body)) // that it works is seen elsewhere
	}
	begin, n := threadTime(t), 0
	for n == 0 || threadTime(t)-begin < *atLeast/rounds {
		for _, s := range samples {
			if s.name != "random" {
				_, _ = encodeBy(context.Background(), w, s.body, len(s.body))
				n += len(s.body)
			}
		}
	}
	return (threadTime(t) - begin).Seconds() * 1000 / (float64(n) / 1e6)
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// threadTime is the CPU time of this thread.
func threadTime(t *testing.T) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// encodingPage has the table between its first line and the next empty one.
const encodingPage = "../docs/encoding.md"

func writeTable(t *testing.T, table string) {
	t.Helper()
	text, err := os.ReadFile(encodingPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), "| coding |")
	if !ok {
		t.Fatalf("%s has no table", encodingPage)
	}
	_, after, _ := strings.Cut(rest, "\n\n")
	if err := os.WriteFile(encodingPage, []byte(before+table+"\n"+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

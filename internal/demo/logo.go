package demo

import (
	"bytes"
	"fmt"
	"math"
)

// drawLogo returns an SVG picture of some 200 KiB, large enough that asking for
// ranges of it makes sense. It is the same at every start, as its strong ETag
// says.
func drawLogo() []byte {
	var b bytes.Buffer
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="-100 -100 200 200" width="400" height="400">` + "\n")
	const dots = 3200
	golden := math.Pi * (3 - math.Sqrt(5)) // the angle by which a sunflower sets its seeds
	for i := range dots {
		radius := 98 * math.Sqrt(float64(i)/dots)
		sin, cos := math.Sincos(float64(i) * golden)
		fmt.Fprintf(&b, `<circle cx="%.2f" cy="%.2f" r="%.2f" fill="hsl(%d,70%%,%d%%)"/>`+"\n",
			radius*cos, radius*sin, 0.4+radius/110, 20+i*40/dots, 35+i*30/dots)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

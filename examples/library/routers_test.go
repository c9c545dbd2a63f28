package library_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

// products are cached for a minute, whatever the router's handlers say; the
// rest follows their Cache-Control.
var products = rules.Spec{
	Name:  "products",
	Match: rules.MatchSpec{Paths: []string{"/products/**"}},
	Cache: &rules.CacheSpec{TTL: new(time.Minute)},
}

func Example_chi() {
	m, err := proxy.NewMiddleware(proxy.MiddlewareOptions{Routes: []rules.Spec{products}})
	if err != nil {
		panic(err)
	}
	defer m.Close(context.Background())

	r := chi.NewRouter()
	r.Get("/products/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "product ", chi.URLParam(r, "id"))
	})

	// Before the router, not by r.Use: chi takes its context back when a
	// request's client has gone, and the cache may still be fetching for others.
	server := httptest.NewServer(m.Handler(r))
	defer server.Close()
	show(server.URL + "/products/7")
	show(server.URL + "/products/7")
	// Output:
	// product 7, fwd=uri-miss
	// product 7, hit
}

func Example_echo() {
	m, err := proxy.NewMiddleware(proxy.MiddlewareOptions{Routes: []rules.Spec{products}})
	if err != nil {
		panic(err)
	}
	defer m.Close(context.Background())

	e := echo.New()
	e.GET("/products/:id", func(c echo.Context) error {
		return c.String(http.StatusOK, "product "+c.Param("id"))
	})

	server := httptest.NewServer(m.Handler(e)) // or: http.Server{Handler: m.Handler(e)}
	defer server.Close()
	show(server.URL + "/products/7")
	show(server.URL + "/products/7")
	// Output:
	// product 7, fwd=uri-miss
	// product 7, hit
}

func Example_gin() {
	m, err := proxy.NewMiddleware(proxy.MiddlewareOptions{Routes: []rules.Spec{products}})
	if err != nil {
		panic(err)
	}
	defer m.Close(context.Background())

	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.GET("/products/:id", func(c *gin.Context) {
		c.String(http.StatusOK, "product %s", c.Param("id"))
	})

	server := httptest.NewServer(m.Handler(g))
	defer server.Close()
	show(server.URL + "/products/7")
	show(server.URL + "/products/7")
	// Output:
	// product 7, fwd=uri-miss
	// product 7, hit
}

// show prints the body of a response and, of what the cache says of it, whether
// it was a hit.
func show(url string) {
	resp, err := http.Get(url)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	said := strings.Split(resp.Header.Get("Cache-Status"), "; ")
	fmt.Printf("%s, %s\n", body, said[1])
}

package library_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	"github.com/cacheproxy/cacheproxy/proxy"
)

// TestRoutersKeepTheirContexts: the routers take the contexts of requests back for others. A fetch that goes on when its client has
// gone must not read another's.
func TestRoutersKeepTheirContexts(t *testing.T) {
	answer := func(w http.ResponseWriter, first string, second func() string) {
		time.Sleep(2 * time.Millisecond) // while other requests come and go
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, first, " ", second())
	}
	r := chi.NewRouter()
	r.Get("/p/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, chi.URLParam(r, "id"), func() string { return chi.URLParam(r, "id") })
	})
	e := echo.New()
	e.GET("/p/:id", func(c echo.Context) error {
		answer(c.Response(), c.Param("id"), func() string { return c.Param("id") })
		return nil
	})
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.GET("/p/:id", func(c *gin.Context) {
		answer(c.Writer, c.Param("id"), func() string { return c.Param("id") })
	})
	for name, router := range map[string]http.Handler{"chi": r, "echo": e, "gin": g} {
		t.Run(name, func(t *testing.T) {
			m, err := proxy.NewMiddleware(proxy.MiddlewareOptions{})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(m.Handler(router))
			defer m.Close(context.Background())
			defer server.Close()
			var clients sync.WaitGroup
			for i := range 200 {
				clients.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%3)*time.Millisecond)
					defer cancel()
					request, _ := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprint(server.URL, "/p/", i), nil)
					if resp, err := http.DefaultClient.Do(request); err == nil {
						resp.Body.Close()
					}
				})
			}
			clients.Wait()
			for i := range 200 {
				resp, err := http.Get(fmt.Sprint(server.URL, "/p/", i))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if want := fmt.Sprint(i, " ", i); string(body) != want || err != nil {
					t.Errorf("/p/%d = %q, %v, want %q", i, body, err, want)
				}
			}
		})
	}
}

package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxAnswer bounds what a client reads of an answer.
const maxAnswer = 64 << 20

// Client calls the administration API of a running instance. An error of its methods is a *Problem where the instance answered
// with one.
type Client struct {
	URL   string // of the instance's administration listener
	Token string // "": none
	HTTP  *http.Client
}

// Ready returns what /readyz says. An instance that is draining is no error.
func (c *Client) Ready(ctx context.Context) (*Health, error) {
	var health Health
	err := c.call(ctx, http.MethodGet, "/readyz", nil, &health, http.StatusServiceUnavailable)
	return &health, err
}

// Explain asks what would be done with a request.
func (c *Client) Explain(ctx context.Context, q Question) (*Explanation, error) {
	query := url.Values{"method": {q.Method}, "url": {q.URL}}
	for param, h := range map[string]http.Header{"header": q.Header, "response_header": q.Response} {
		for name, values := range h {
			for _, value := range values {
				query.Add(param, name+": "+value)
			}
		}
	}
	if q.Status != 0 {
		query.Set("status", strconv.Itoa(q.Status))
	}
	var e Explanation
	err := c.call(ctx, http.MethodGet, "/v1/explain", query, &e)
	return &e, err
}

// Reload has the configuration loaded anew.
func (c *Client) Reload(ctx context.Context) (*Reloaded, error) {
	var r Reloaded
	err := c.call(ctx, http.MethodPost, "/v1/reload", nil, &r)
	return &r, err
}

// Invalidate carries out an order, and returns what has become of it with the status code: 200 where it has got as far as it asks to
// wait for, else 202.
func (c *Client) Invalidate(ctx context.Context, o *Order) (r *Receipt, status int, err error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, 0, err
	}
	r = new(Receipt)
	status, err = c.send(ctx, http.MethodPost, "/v1/invalidate", nil, body, r, http.StatusAccepted)
	return r, status, err
}

// call makes a call and reads its answer into out. Answers with one of the statuses also are answers.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, out any, also ...int) error {
	_, err := c.send(ctx, method, path, query, nil, out, also...)
	return err
}

// send is call with a body, which is JSON, and returns the status code too.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body []byte, out any, also ...int) (int, error) {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return 0, err
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, fmt.Errorf("%s %s: %w", method, req.URL, err)
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")) // none is no JSON either
	expected := res.StatusCode == http.StatusOK
	for _, status := range also {
		expected = expected || res.StatusCode == status
	}
	switch {
	case kind == "application/problem+json":
		p := new(Problem)
		if err := json.Unmarshal(b, p); err != nil {
			return 0, fmt.Errorf("%s %s: %w", method, req.URL, err)
		}
		return 0, p
	case expected && kind == "application/json":
		if err := json.Unmarshal(b, out); err != nil {
			return 0, fmt.Errorf("%s %s: %w", method, req.URL, err)
		}
		return res.StatusCode, nil
	default:
		return 0, fmt.Errorf("%s %s: the answer %s is not one of cacheproxy's administration API", method, req.URL, res.Status)
	}
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Request, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, errors.New("the address of the administration listener should look like http://127.0.0.1:8081, not " + strconv.Quote(c.URL))
	}
	target := base.JoinPath(path)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(c.Token))
	}
	return req, nil
}

//go:build linux

package bench

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/test/process"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// A peer is a kind of server that is measured.
type peer struct {
	name    string
	program string // that has to be installed; empty: it is built here
	version []string
	bare    bool // it is no cache: it makes what it is asked for, and passes nothing on
	alone   bool // it sends a request for each client that asks for the same
	noTLS   bool
	behind  bool // it has a tier behind memory, and can be made to answer from it
	shared  bool // its memory for objects is taken at the start, so that it does not grow with them
	launch  func(t testing.TB, s *site) (pid int)
}

// A site is where one server stands: its addresses, its directory and what is behind it.
type site struct {
	addr, secure string
	dir          string // in memory, where the machine has such a file system
	cert, key    string // PEM files
	room         int    // MiB for objects, for a server that touches all of it when it starts
	user         string // that a server takes which does not like to be root
	origin       origin
	redis        *redistest.Server // the tier behind memory; nil: there is none
}

var peers = []peer{
	{name: "cacheproxy", behind: true, launch: launchCacheproxy},
	{name: "nginx", program: "nginx", version: []string{"nginx", "-v"}, behind: true, launch: launchNginx},
	{name: "HAProxy", program: "haproxy", version: []string{"haproxy", "-v"}, shared: true, launch: launchHAProxy},
	{name: "Varnish", program: "varnishd", version: []string{"varnishd", "-V"}, noTLS: true, launch: launchVarnish},
	{name: "Traffic Server", program: "traffic_server", version: []string{"traffic_server", "--version"}, launch: launchTrafficServer},
	{name: "net/http", version: []string{"go", "version"}, alone: true, launch: launchPlain},
	{name: "epoll loop", version: []string{"go", "version"}, bare: true, noTLS: true, launch: launchLoop},
}

// installed tells whether the peer can be run here.
func (p *peer) installed() bool {
	if p.program == "" {
		return true
	}
	_, err := exec.LookPath(p.program)
	return err == nil
}

// newSite finds addresses and a directory for a server, which are its own until the test ends.
func newSite(t testing.TB, o origin, room int) *site {
	t.Helper()
	base := os.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "cacheproxy-bench-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) // what stays there harms nobody
	addrs := process.FreeAddrs(t, 2)
	s := &site{addr: addrs[0], secure: addrs[1], dir: dir, room: room, origin: o}
	s.cert, s.key = writeCertificate(t, dir)
	return s
}

// file writes a file of the site's directory, with {names} replaced by what the site knows.
func (s *site) file(t testing.TB, name, text string) string {
	t.Helper()
	host, port, _ := strings.Cut(s.origin.addr, ":")
	_, addrPort, _ := strings.Cut(s.addr, ":")
	_, securePort, _ := strings.Cut(s.secure, ":")
	text = strings.NewReplacer("{addr}", s.addr, "{secure}", s.secure, "{port}", addrPort, "{secure port}", securePort,
		"{dir}", s.dir, "{user}", s.user, "{room}", strconv.Itoa(s.room), "{cert}", s.cert, "{key}", s.key,
		"{origin}", s.origin.addr, "{origin host}", host, "{origin port}", port).Replace(text)
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// give makes the user the owner of all files of the site.
func (s *site) give(t testing.TB, to *user.User) {
	t.Helper()
	uid, err := strconv.Atoi(to.Uid)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, -1)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// All are configured alike: one thread or worker, room in memory for all objects, no access log, connections to clients and origin
// that stay, what begins with /keep/ is cached and the rest passed on.

func launchCacheproxy(t testing.TB, s *site) int {
	tiers := "cache: { l1: { max_bytes: 2GiB } }"
	if s.redis != nil { // the time-out is that of a machine on which both share a processor
		tiers = "cache: { l1: { max_bytes: 1MiB, max_object_bytes: 64KiB } }\nredis: { url: " + s.redis.URL() + ", timeout: 1s }"
	}
	config := s.file(t, "cacheproxy.yaml", tiers+`
listen:
  - address: "{addr}"
  - address: "{secure}"
    tls: { cert_file: "{cert}", key_file: "{key}" }
upstreams:
  origin: { targets: [{ url: "http://{origin}" }] }
routes:
  - match: { paths: ["/pass/**"] }
    cache: { pattern: off }
log: { access: false }
`)
	core, _ := cores(t)
	p := process.Serve(t, process.Options{Configured: true, Shell: fmt.Sprintf(`exec taskset -c %d "$@"`, core)}, "--config", config)
	return p.PID()
}

func launchNginx(t testing.TB, s *site) int {
	config := s.file(t, "nginx.conf", `
daemon off;
worker_processes 1;
user root;
pid {dir}/nginx.pid;
error_log stderr warn;
events { worker_connections 16384; }
http {
	access_log off;
	keepalive_timeout 600;
	keepalive_requests 1000000000;
	client_body_temp_path {dir}/body;
	proxy_temp_path {dir}/proxy;
	fastcgi_temp_path {dir}/fastcgi;
	uwsgi_temp_path {dir}/uwsgi;
	scgi_temp_path {dir}/scgi;
	proxy_cache_path {dir}/cache levels=1:2 keys_zone=cache:256m max_size=8g inactive=1h use_temp_path=off;
	upstream origin {
		server {origin};
		keepalive 512;
		keepalive_requests 1000000000;
	}
	server {
		listen {addr} backlog=4096;
		listen {secure} backlog=4096 ssl http2;
		ssl_certificate {cert};
		ssl_certificate_key {key};
		ssl_protocols TLSv1.3;
		proxy_http_version 1.1;
		proxy_set_header Connection "";
		location / { proxy_pass http://origin; }
		location /keep/ {
			proxy_pass http://origin;
			proxy_cache cache;
			proxy_cache_lock on;
		}
	}
}
`)
	core, _ := cores(t)
	return start(t, pinned(core, "nginx", "-p", s.dir, "-e", "stderr", "-c", config), s.addr, s.secure).cmd.Process.Pid
}

func launchHAProxy(t testing.TB, s *site) int {
	pem, err := os.ReadFile(s.cert)
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(s.key)
	if err != nil {
		t.Fatal(err)
	}
	s.file(t, "both.pem", string(pem)+string(key))
	config := s.file(t, "haproxy.cfg", `
global
	nbthread 1
	maxconn 8000
cache cache
	total-max-size {room}
	max-object-size 2000000
	max-age 3600
defaults
	mode http
	timeout connect 5s
	timeout client 600s
	timeout server 60s
	option http-keep-alive
	http-reuse always
frontend front
	bind {addr}
	bind {secure} ssl crt {dir}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.3
	use_backend keep if { path_beg /keep/ }
	default_backend pass
backend keep
	http-request cache-use cache
	http-response cache-store cache
	server origin {origin}
backend pass
	server origin {origin}
`)
	core, _ := cores(t)
	return start(t, pinned(core, "haproxy", "-db", "-f", config), s.addr, s.secure).cmd.Process.Pid
}

func launchVarnish(t testing.TB, s *site) int {
	config := s.file(t, "default.vcl", `
vcl 4.1;
backend default { .host = "{origin host}"; .port = "{origin port}"; }
sub vcl_recv {
	if (req.url ~ "^/keep/") { return (hash); }
	return (pass);
}
`)
	core, _ := cores(t)
	return start(t, pinned(core, "varnishd", "-F", "-j", "none", "-n", filepath.Join(s.dir, "work"), "-a", s.addr, "-T", "none", "-f", config,
		"-s", "malloc,2G", "-p", "thread_pools=1", "-p", "thread_pool_max=1000", "-p", "timeout_idle=600"), s.addr).cmd.Process.Pid
}

func launchTrafficServer(t testing.TB, s *site) int {
	for _, name := range []string{"run", "log", "etc/body_factory"} {
		if err := os.MkdirAll(filepath.Join(s.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// It refuses to work as root, and becomes the user that its package has made.
	s.user = "#-1"
	var owner *user.User
	if os.Getuid() == 0 {
		var err error
		if owner, err = user.Lookup("trafficserver"); err != nil {
			t.Fatal(err)
		}
		s.user = owner.Username
	}
	s.file(t, "etc/records.config", `
CONFIG proxy.config.http.server_ports STRING {port}:ip-in=127.0.0.1 {secure port}:ip-in=127.0.0.1:ssl
CONFIG proxy.config.exec_thread.autoconfig INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.accept_threads INT 0
CONFIG proxy.config.task_threads INT 1
CONFIG proxy.config.admin.user_id STRING {user}
CONFIG proxy.config.crash_log_helper STRING NULL
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.body_factory.template_sets_dir STRING {dir}/etc/body_factory
CONFIG proxy.config.net.connections_throttle INT 16000
CONFIG proxy.config.net.max_connections_in INT 12000
CONFIG proxy.config.net.listen_backlog INT 4096
CONFIG proxy.config.http.keep_alive_no_activity_timeout_in INT 600
CONFIG proxy.config.http.cache.required_headers INT 2
CONFIG proxy.config.http.insert_response_via_str INT 0
CONFIG proxy.config.cache.ram_cache.size INT 2G
CONFIG proxy.config.cache.min_average_object_size INT 2000
CONFIG proxy.config.cache.enable_read_while_writer INT 1
CONFIG proxy.config.http.background_fill_active_timeout INT 0
CONFIG proxy.config.http.background_fill_completed_threshold FLOAT 0.0
CONFIG proxy.config.http.cache.max_open_read_retries INT 500
CONFIG proxy.config.http.cache.open_read_retry_time INT 10
CONFIG proxy.config.http.cache.max_open_write_retries INT 1
CONFIG proxy.config.http.cache.open_write_fail_action INT 5
CONFIG proxy.config.ssl.server.cert.path STRING {dir}
CONFIG proxy.config.ssl.server.private_key.path STRING {dir}
CONFIG proxy.config.url_remap.pristine_host_hdr INT 1
`)
	s.file(t, "etc/remap.config", "map / http://{origin}/\n")
	s.file(t, "etc/storage.config", "{dir}/run 3G\n")
	s.file(t, "etc/cache.config", "url_regex=^http://[^/]*/pass/ action=never-cache\n")
	s.file(t, "etc/ip_allow.yaml", "ip_allow:\n  - apply: in\n    ip_addrs: 0/0\n    action: allow\n    methods: ALL\n")
	s.file(t, "etc/ssl_multicert.config", "dest_ip=* ssl_cert_name=cert.pem ssl_key_name=key.pem\n")
	if owner != nil {
		s.give(t, owner)
	}
	core, _ := cores(t)
	cmd := pinned(core, "traffic_server")
	cmd.Env = append(os.Environ(), "PROXY_CONFIG_CONFIG_DIR="+filepath.Join(s.dir, "etc"),
		"PROXY_CONFIG_LOCAL_STATE_DIR="+filepath.Join(s.dir, "run"), "PROXY_CONFIG_LOG_LOGFILE_DIR="+filepath.Join(s.dir, "log"))
	return start(t, cmd, s.addr, s.secure).cmd.Process.Pid
}

func launchPlain(t testing.TB, s *site) int {
	core, _ := cores(t)
	return start(t, pinned(core, toolPath(t), "plain", "-listen", s.addr, "-tls", s.secure, "-cert", s.cert, "-key", s.key,
		"-origin", s.origin.addr), s.addr, s.secure).cmd.Process.Pid
}

// launchLoop starts what stands for the least that a hit can cost: the origin, one thread that knows only what it is asked for here.
func launchLoop(t testing.TB, s *site) int {
	core, _ := cores(t)
	return start(t, pinned(core, toolPath(t), "origin", "-listen", s.addr), s.addr).cmd.Process.Pid
}

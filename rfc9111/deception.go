package rfc9111

import (
	"strings"
	"time"
)

// refuseDisguised refuses a page, or data, under a URL that names a file. Many origins answer /account/x.css, or /account;x.css, with the
// page /account. Who leads a user there makes a rule for style sheets store that user's page (web cache deception). Where the origin
// itself says for how long everybody may keep the response, it has seen what it answers. This is of no RFC.
func refuseDisguised(j *judgement) Reason {
	x := j.exchange
	if x.Status < 200 || x.Status > 299 || x.Target == nil || !namesFile(x.Target.Path) {
		return ReasonNone
	}
	if kind, lines := x.Response.Field("Content-Type"); lines == 0 || !isPage(kind) {
		return ReasonNone
	}
	if j.public || j.explicitLifetime(time.Time{}).source.byOrigin() {
		return ReasonNone
	}
	return ReasonDisguised
}

// namesFile reports whether the path ends as those of style sheets, scripts, images, fonts, recordings and archives do.
func namesFile(path string) bool {
	dot := strings.LastIndexByte(path, '.')
	if dot < 0 || len(path)-dot > len(".woff2") {
		return false
	}
	switch strings.ToLower(path[dot+1:]) {
	case "css", "js", "mjs", "wasm", "jpg", "jpeg", "png", "gif", "svg", "svgz", "webp", "avif", "ico", "bmp", "tif", "tiff",
		"woff", "woff2", "ttf", "otf", "eot", "mp3", "mp4", "m4a", "m4v", "mov", "webm", "ogg", "oga", "ogv", "flac", "wav", "avi",
		"zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "tar", "jar", "exe", "dmg", "iso", "apk", "deb", "rpm",
		"pdf", "ps", "eps", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "swf":
		return true
	}
	return false
}

// isPage reports whether a media type is that of a page or of data for programs. Pictures that are XML are files.
func isPage(kind string) bool {
	kind, _, _ = strings.Cut(kind, ";")
	switch kind = strings.ToLower(trim(kind)); kind {
	case "text/html", "application/json", "text/xml", "application/xml":
		return true
	}
	return strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml") && !strings.HasPrefix(kind, "image/")
}

// Package framing finds where HTTP/1 requests begin and end on a connection, and
// refuses what two recipients could read in two ways.
//
// A proxy and the servers behind it must agree on that, or a client makes them
// disagree: one takes for the content of a request what the other takes for the
// next request, and answers somebody else with it (request smuggling). RFC 9112
// lets a recipient repair a good deal, and net/http does: it takes a bare LF for
// the end of a line, and keeps a connection open after a message that has both a
// Content-Length and a Transfer-Encoding. Here nothing is repaired.
//
// [Head] checks the head of one request, from raw bytes, in as many pieces as
// they come. [Requests] follows a whole connection: head, content, chunks,
// trailers, the next head. Both look at every byte once, and neither allocates
// where a line does not fall apart between two reads.
//
// # What is accepted
//
// Every line ends with CRLF, and has no other CR or LF and no control byte but
// HTAB. The request line has a method, a target and HTTP/1.0 or HTTP/1.1, with
// one space between them; one empty line may stand before it (RFC 9112, section
// 2.2). A field line has a token, a colon and a value, and is not folded
// (sections 5 and 5.2). There is one Host; HTTP/1.0 may do without. There is at
// most one Content-Length, of digits only, or at most one Transfer-Encoding, of
// HTTP/1.1, which is "chunked"; never both (section 6). A chunk's size is
// hexadecimal; its extensions are few (section 7.1). A trailer frames nothing.
package framing

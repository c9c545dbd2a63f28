// Package fastlane answers plain hits of the cache between two reads of a
// connection, and leaves everything else to net/http.
//
// A [Listener] stands between the sockets and an http.Server. It reads the
// requests of each HTTP/1 connection itself. A plain GET or HEAD for which memory
// holds a fresh response is answered at once: one read, one write, no allocation,
// and no lock but that of the cache's shard. The server gets the connection when
// it is first needed; a connection that has only seen hits costs nothing of it.
//
// # One reader
//
// Whoever reads a connection must know where its requests begin. That the server
// waits for a request does not say that one begins there: it reads ahead while a
// handler runs, and may hold the first byte of the next one. An X in its buffer
// and GET /hit HTTP/1.1 on the wire are one request, with a method that nobody
// may take for GET. So the lane alone reads. It hands the server the bytes of one
// request, as [framing.Head] finds its end, and no more before that is answered;
// the server tells by its ConnState hook, see [Conn.Idle]. What cannot be handed
// over so, because it has content, asks for another protocol or is no request at
// all, takes the connection to the server for good: from there on the lane passes
// bytes and looks at none.
//
// # The same answer
//
// The lane decides nothing. It brings the request into the form that all rules
// read ([rules.View]), and asks the functions that the handler asks too: the
// routes match, make the key and choose the fields; [cache.Cache.Find] selects
// and gives the verdict; [cache.Entry.Reply] says what is sent. Where the verdict
// is another one than to serve a fresh response whole or as a 304, or where
// something beside these functions would have a say, such as a condition of the
// route or a field that net/http acts upon, the request goes to the server. The
// lane answers no error.
package fastlane

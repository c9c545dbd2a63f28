// Package load makes HTTP/1.1 load and serves as the origin of what it asks for, each in one thread on epoll.
//
// A benchmark of a quick server is only as good as its client: the client must cost much less than what it measures, or it is the
// client that is measured. So [Run] works on raw sockets that do not block, in a loop that allocates nothing, parses no more of an
// answer than its status and its length, and checks both of every answer. [ServeOrigin] is made in the same way.
//
// What is asked for says itself what the answer has to be, in the form of [Targets]: /keep/0/1024/17 is object 17 of 1,024 bytes,
// which may be stored and comes at once; /pass/300/8/1 is object 1 of 8 bytes, which may not be stored and comes after 300 ms.
package load

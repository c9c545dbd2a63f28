package app

import "net"

// inherited are the sockets that a service manager has opened for this process and that nobody has taken yet, in its order.
type inherited struct {
	tcp []net.Listener
	udp []net.PacketConn
}

// stream returns the next passed listener, or opens one on address.
func (s *inherited) stream(address string) (net.Listener, error) {
	if len(s.tcp) == 0 {
		return net.Listen("tcp", address)
	}
	l := s.tcp[0]
	s.tcp = s.tcp[1:]
	return l, nil
}

// packets returns the next passed socket for datagrams, or opens one on address.
func (s *inherited) packets(address string) (net.PacketConn, error) {
	if len(s.udp) == 0 {
		return net.ListenPacket("udp", address)
	}
	c := s.udp[0]
	s.udp = s.udp[1:]
	return c, nil
}

func (s *inherited) left() int { return len(s.tcp) + len(s.udp) }

// close closes what nobody has taken.
func (s *inherited) close() {
	for _, l := range s.tcp {
		l.Close() // nobody has used it
	}
	for _, c := range s.udp {
		c.Close()
	}
}

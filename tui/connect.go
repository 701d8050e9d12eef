package tui

import (
	"github.com/qlik-preflight/preflight/internal/record"
	"github.com/qlik-preflight/preflight/reports"
)

// connect is a row for each server: whether it is signed in to, and how.
func (s scene) connect() body {
	var rows []row
	var cells [][]span
	for _, v := range s.r.Servers {
		x := row{id: "server " + v.Name}
		switch {
		case v.Failure != nil:
			x.detail = s.failure(v)
			cells = append(cells, failureCells(v))
		case v.SignIn != nil:
			how := reports.SignedIn(*v.SignIn)
			if v.Simulated != nil && *v.Simulated {
				how += ", simulated"
			}
			x.detail.lines = para(plain, nil, v.Name+": signed in, "+how, s.width)
			cells = append(cells, []span{say(strong, v.Name), say(good, "signed in"), say(plain, how), say(dim, reports.Seconds(v.SignIn.MS))})
		default:
			word := s.connecting(v)
			x.detail.lines = para(plain, nil, v.Name+": "+word.text, s.width)
			cells = append(cells, []span{say(strong, v.Name), word})
		}
		rows = append(rows, x)
	}
	return body{head: s.trouble(), rows: laid(rows, s.width, cells)}
}

// connecting is how far a server has come that is neither signed in to nor given up.
func (s scene) connecting(v record.Server) span {
	switch {
	case !s.running || s.w.Stage() != "" && s.w.Stage() != "connect":
		return say(dim, "not tried")
	case v.Simulated != nil && len(s.r.Run.Commands) == 1: // a command before this one may have reached it
		return say(waiting, "reached")
	}
	return say(waiting, "connecting")
}

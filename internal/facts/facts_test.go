package facts

import "testing"

func TestHolder(t *testing.T) {
	t.Parallel()
	const database, dispatcher = "QlikSenseRepositoryDatabase", "QlikSenseServiceDispatcher"
	s := Server{Services: Known([]Service{
		{Name: "QlikSenseProxyService", State: "Running", PID: 100},
		{Name: "qliksenserepositorydatabase", State: "Running", PID: 200},
		{Name: dispatcher, State: "Running", PID: 300},
		{Name: "QlikSensePrintingService", State: "Stopped"},
	})}
	stopped := Server{Services: Known([]Service{{Name: database, State: "Stopped"}, {Name: dispatcher, State: "Start Pending", PID: 300}})}
	apart := Server{Services: Known([]Service{{Name: "QlikSenseRepositoryService", State: "Running", PID: 100}})}
	unread := Server{Services: Unknown[[]Service]("WMI is broken")}
	for _, test := range []struct {
		name    string
		on      Server
		pid     int
		process string
		starter string
		want    Holder
	}{
		{"a service's own process", s, 100, "anything", "", Qlik},
		{"a service's own program", s, 9, "Proxy", "", Qlik},
		{"a service's own program, services not read", unread, 9, "Engine", "", Qlik},
		{"no process id is no service's", s, 0, "httpd", "", Foreign},
		{"http.sys", s, 4, "System", "", HTTPSys},
		{"another program", s, 9, "httpd", "", Foreign},
		{"no name", s, 9, "", "", UnknownHolder},
		{"PostgreSQL where a service's own program should be", s, 9, "postgres", "", Foreign},
		{"node where a service's own program should be", s, 9, "node", "", Foreign},
		{"PostgreSQL", s, 9, "Postgres", database, Likely},
		{"PostgreSQL, whose service does not run", stopped, 9, "postgres", database, UnknownHolder},
		{"PostgreSQL, services not read", unread, 9, "postgres", database, UnknownHolder},
		{"PostgreSQL, installed apart", apart, 9, "postgres", database, Likely},
		{"another program where PostgreSQL is installed apart", apart, 9, "httpd", database, Foreign},
		{"node, without its service", apart, 9, "node", dispatcher, UnknownHolder},
		{"PostgreSQL's service itself", s, 200, "pg_ctl", database, Qlik},
		{"another program where PostgreSQL should be", s, 9, "node", database, Foreign},
		{"no name where PostgreSQL should be", s, 9, "", database, UnknownHolder},
		{"http.sys where PostgreSQL should be", s, 4, "System", database, HTTPSys},
		{"node", s, 9, "node", dispatcher, Likely},
		{"node, whose service is about to start", stopped, 9, "node", dispatcher, UnknownHolder},
		{"the dispatcher itself", s, 300, "ServiceDispatcher", dispatcher, Qlik},
		{"what a later release may start", s, 9, "DataProfiling", dispatcher, UnknownHolder},
		{"PostgreSQL where the dispatcher's should be", s, 9, "postgres", dispatcher, UnknownHolder},
	} {
		if got := test.on.Holder(Listener{PID: test.pid, Process: test.process}, test.starter); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

package ports

import "github.com/qlik-preflight/preflight/internal/site"

// Release is a catalogue entry.
type Release struct {
	Name    string // the entry's
	For     string // the release that it answers for, as Lookup was asked
	New     string // what is different from the entry before
	Ports   []Port // sorted by number
	Notes   []Note
	Sources []Source
	Sure    string // how sure the table is
}

// Note says why a port, or a few of them, that people know is not opened, or not opened the way they know.
type Note struct{ Ports, Why string }

// Source is where something of an entry was seen.
type Source struct {
	What  string // in a few words
	Where string // its address, or its repository at a commit; "" for the guide, which has none
}

// Who dials.
var (
	central       = Dialler{Role: site.Central}
	rims          = Dialler{Role: site.Rim}
	proxies       = Dialler{Service: site.Proxy}
	repositories  = Dialler{Service: site.Repository}
	rimSchedulers = Dialler{Role: site.Rim, Service: site.Scheduler}
)

// What listens beside the five services. PostgreSQL's Windows service is its pg_ctl, which starts the program that
// listens; the Service Dispatcher starts the others (help.qlik.com, Qlik Sense April 2018, "Services").
var (
	database  = Part{"database", "QlikSenseRepositoryDatabase"}
	broker    = Part{"broker", "QlikSenseServiceDispatcher"}
	profiling = Part{"data profiling", "QlikSenseServiceDispatcher"}
)

// catalogue holds the entries, the oldest first. 1.0.2 is the multi-node guide's table, exactly, although every later
// source prints 4244 for its 4144 and 5151 for its 5051. Of the later ones the ports are from their sources; who dials whom
// is derived from the inbound and outbound columns of Qlik's ports pages, since April 2018.
var catalogue = []Release{
	{
		Name:    "1.0.2",
		New:     "the guide's table: the central node and each rim dial each other on all ports",
		Sure:    "the guide's table, exactly; Qlik's own page for 1.0 prints 4244 for its 4144",
		Sources: []Source{guide, pages10},
		Ports:   guidePorts,
		Notes: []Note{
			{"4144", "the guide's number for Windows authentication: Qlik's page for 1.0 and every later source print 4244; where the proxy listens on 4244, a rule for 4144 opens nothing"},
			{"5051", "the guide's number for the slave scheduler: every later source prints 5151; Qlik's page for 1.0 may have had two, the copy that was seen ends before them"},
			{"4747", "the guide has no port of the engine; a proxy needs it to reach an engine on another node (in the table since 2.x)"},
			noUnlock,
			{"4432", "each node has a database of its own, and it is used on the node alone"},
			noPlain,
		},
	},
	{
		Name: "2.x",
		New:  "4244 for 4144, 5151 for 5051; the engine's 4747 and 4239 for proxies; browsers alone use 443",
		Sure: "ports seen: opened by the automation for 2.0.1, and for repository and proxy on Qlik's pages for 2.1; who dials whom is derived from later pages",
		Sources: []Source{
			{"automation for 2.0.1", "github.com/ahaydon/Qlik-Cli-Windows, commit 02a473a: provision.ps1"},
			{"Qlik's page for 2.0", "https://help.qlik.com/sense/2.0/en-US/online/Subsystems/PlanningQlikSenseDeployments/Content/Server/Server-Deployment-Ports.htm"},
			{"Qlik's page on the proxy of 2.1", "https://help.qlik.com/en-us/sense/2.1/Subsystems/PlanningQlikSenseDeployments/Content/Server/Server-Architecture-Services-Proxy-Ports.htm"},
		},
		Ports: []Port{
			{Number: 443, Service: site.Proxy, Clients: true, Speech: TLS, Purpose: hub},
			{Number: 4239, Service: site.Repository, From: []Dialler{proxies}, Speech: TLS, Purpose: webSocket},
			{Number: 4241, On: site.Central, Service: site.Repository, From: []Dialler{rims}, Speech: TLS, Purpose: synchronisation},
			{Number: 4241, On: site.Rim, Service: site.Repository, From: []Dialler{central}, Speech: TLS, Purpose: synchronisation},
			{Number: 4242, On: site.Central, Service: site.Repository, From: []Dialler{rims}, Speech: TLS, Purpose: repositoryAPI},
			{Number: 4242, On: site.Rim, Service: site.Repository, From: []Dialler{central, proxies}, Speech: TLS, Purpose: repositoryAPI},
			{Number: 4244, Service: site.Proxy, Clients: true, Speech: TLS, Purpose: authentication},
			{Number: 4444, On: site.Rim, Service: site.Repository, From: []Dialler{central}, Speech: HTTP, Purpose: certificate},
			{Number: 4747, Service: site.Engine, From: []Dialler{proxies}, Speech: TLS, Purpose: engine},
			{Number: 5050, On: site.Central, Service: site.Scheduler, From: []Dialler{rimSchedulers}, Speech: TLS, Purpose: master},
			{Number: 5151, On: site.Rim, Service: site.Scheduler, From: []Dialler{central}, Speech: TLS, Purpose: slave},
		},
		Notes: []Note{
			guideNumbers,
			{"4243", "within a node; inbound only if programs elsewhere ask the proxy for tickets (Qlik's page for 2.0)"},
			{"4432", "each node has a database of its own, and it is used on the node alone (Qlik's page for 2.0)"},
			{"4899 4900 4949", "printing, broker and data profiling: no source for 2.x shows them dialled from another node"},
			noUnlock,
			{"4545 4555 4748", "used within a node (Qlik's page for 2.0)"},
			noPlain,
		},
	},
	{
		Name: "3.x",
		New:  "printing's 4899, and the broker's 4900 on the central node",
		Sure: "ports seen: 443, 4241, 4242, 4244, 4444, 4899 and 4900 (on the central node alone), opened by the automation for 3.1.1; the others are carried over from 2.0.1, which April 2018 has too; who dials whom is derived from later pages",
		Sources: []Source{
			{"automation for 3.1.1", "github.com/clintcarr/qlik-sense-automated-install, commit c1c501a: install-qs.ps1, install-qs-rim.ps1"},
			{"for what was carried over, automation for 2.0.1", "github.com/ahaydon/Qlik-Cli-Windows, commit 02a473a: provision.ps1"},
		},
		Ports: []Port{
			{Number: 443, Service: site.Proxy, Clients: true, Speech: TLS, Purpose: hub},
			{Number: 4239, Service: site.Repository, From: []Dialler{proxies}, Speech: TLS, Purpose: webSocket, Carried: true},
			{Number: 4241, On: site.Central, Service: site.Repository, From: []Dialler{rims}, Speech: TLS, Purpose: synchronisation},
			{Number: 4241, On: site.Rim, Service: site.Repository, From: []Dialler{central}, Speech: TLS, Purpose: synchronisation},
			{Number: 4242, On: site.Central, Service: site.Repository, From: []Dialler{rims}, Speech: TLS, Purpose: repositoryAPI},
			{Number: 4242, On: site.Rim, Service: site.Repository, From: []Dialler{central, proxies}, Speech: TLS, Purpose: repositoryAPI},
			{Number: 4244, Service: site.Proxy, Clients: true, Speech: TLS, Purpose: authentication},
			{Number: 4444, On: site.Rim, Service: site.Repository, From: []Dialler{central}, Speech: HTTP, Purpose: certificate},
			{Number: 4747, Service: site.Engine, From: []Dialler{proxies}, Speech: TLS, Purpose: engine, Carried: true},
			{Number: 4899, Service: site.Printing, From: []Dialler{proxies}, Speech: TLS, Purpose: printing},
			{Number: 4900, On: site.Central, Service: site.Engine, Part: broker, From: []Dialler{proxies}, Speech: TLS, Purpose: brokerAPI},
			{Number: 5050, On: site.Central, Service: site.Scheduler, From: []Dialler{rimSchedulers}, Speech: TLS, Purpose: master, Carried: true},
			{Number: 5151, On: site.Rim, Service: site.Scheduler, From: []Dialler{central}, Speech: TLS, Purpose: slave, Carried: true},
		},
		Notes: []Note{
			guideNumbers,
			{"4243 4949", "proxy API and data profiling: no source for 3.x shows them dialled from another node"},
			{"4432", "3.1.2 and later can share one database and one file share: then every rim dials 4432 of the database's host, and no 4241 is needed; this table is for synchronised sites"},
			noUnlock,
			{"4545 4555 4748", "used within a node (Qlik's page for 2.0)"},
			noPlain,
		},
	},
	{
		Name: "june-2017",
		New:  "one database for all: 4432 of the central node, no 4241; 4243 and 4949; 4900 of every engine node",
		Sure: "carried over from April 2018: no ports page for it was seen; that the database is shared since June 2017 was",
		Sources: []Source{
			{"none of its own; Qlik's page for April 2018", pageApril2018},
			{"that the database is shared: article on moving it", "Qlik support article 1713744"},
		},
		Ports: carried(sharedPorts),
		Notes: notes(guideNumbers, noSync, noUnlock, inside2018, noDatabase, noShare, noLogging, monitoring, noPlain),
	},
	{
		Name:    "april-2018",
		New:     "the same between nodes; the first page that tells who dials whom",
		Sure:    "ports seen on Qlik's page for that very release; who dials whom is derived from its inbound and outbound columns",
		Sources: []Source{{"Qlik's page for April 2018", pageApril2018}, deployment2018},
		Ports:   sharedPorts,
		Notes:   notes(guideNumbers, noSync, noUnlock, inside2018, noDatabase, noShare, noLogging, monitoring, noPlain),
	},
	{
		Name: "february-2019",
		New:  "the same between nodes",
		Sure: "ports seen on Qlik's page for that very release; who dials whom is derived from its inbound and outbound columns",
		Sources: []Source{
			{"Qlik's page for February 2019", "https://help.qlik.com/ko-KR/sense/February2019/Subsystems/PlanningQlikSenseDeployments/Content/Sense_Deployment/Ports.htm"},
			deployment2018,
		},
		Ports: sharedPorts,
		Notes: notes(guideNumbers, noSync, noUnlock, inside2018, noDatabase, noShare, noLogging, monitoring, noPlain),
	},
	{
		Name: "august-2021",
		New:  "the same between nodes; the schedulers are called manager and worker",
		Sure: "ports seen on Qlik's page for that very release; who dials whom is derived from its inbound and outbound columns",
		Sources: []Source{
			{"Qlik's page for August 2021", "https://help.qlik.com/en-US/sense-admin/August2021/Subsystems/DeployAdministerQSE/Content/Sense_DeployAdminister/QSEoW/Deploy_QSEoW/Ports.htm"},
		},
		Ports: sharedPorts,
		Notes: notes(guideNumbers, noUnlock, inside2021, noDatabase, noShare, noLogging, monitoring, noPlain),
	},
	{
		Name: "november-2022",
		New:  "the same between nodes; 4240 for a test mode, which is not opened",
		Sure: "ports seen on Qlik's page for that very release; who dials whom is derived from its inbound and outbound columns",
		Sources: []Source{
			{"Qlik's page for November 2022", "https://help.qlik.com/en-US/sense-admin/November2022/Subsystems/DeployAdministerQSE/Content/Sense_DeployAdminister/QSEoW/Deploy_QSEoW/Ports.htm"},
		},
		Ports: sharedPorts,
		Notes: notes(guideNumbers, noUnlock, inside2022, noTestMode, noDatabase, noShare, monitoring, noPlain),
	},
	{
		Name: "february-2024",
		New:  "the same between nodes",
		Sure: "ports seen on Qlik's page for that very release; who dials whom is derived from its inbound and outbound columns",
		Sources: []Source{
			{"Qlik's page for February 2024", "https://help.qlik.com/en-US/sense-admin/February2024/Subsystems/DeployAdministerQSE/Content/Sense_DeployAdminister/QSEoW/Deploy_QSEoW/Ports.htm"},
		},
		Ports: sharedPorts,
		Notes: notes(guideNumbers, noUnlock, inside2022, noTestMode, noDatabase, noShare, monitoring, noPlain),
	},
	{
		Name: "november-2025",
		New:  "the same between nodes; an open question about 9028",
		Sure: "ports seen on the page for the newest release and, but for 4243 and 4244, in the rules of the Ansible collection of December 2025; no page is dated November 2025; who dials whom is derived from the inbound and outbound columns",
		Sources: []Source{
			{"Qlik's page for the newest release", "https://help.qlik.com/en-US/sense-admin/Subsystems/DeployAdministerQSE/Content/Sense_DeployAdminister/QSEoW/Deploy_QSEoW/Ports.htm"},
			{"Ansible collection of December 2025", "github.com/QlikProfessionalServices/ansible-qliksense-collection, commit 2f6a64e"},
		},
		Ports: sharedPorts,
		Notes: notes(guideNumbers, noUnlock, inside2022,
			Note{"9028", "the hub service: the Ansible collection opens it on engine nodes, Qlik's page calls it internal; not opened until it is seen to be needed"},
			noTestMode, noDatabase, noShare, monitoring, noPlain),
	},
}

// What the ports are for.
const (
	hub             = "hub, QMC and APIs, https"
	webSocket       = "web socket of the repository"
	synchronisation = "synchronisation between repositories"
	repositoryAPI   = "repository API"
	proxyAPI        = "proxy API and tickets"
	authentication  = "Windows authentication of the proxy"
	certificate     = "the central node sends the certificate here"
	engine          = "apps"
	printing        = "printing and export"
	brokerAPI       = "the hub's services"
	profilingAPI    = "data manager"
	postgres        = "the site's database, PostgreSQL"
	master          = "master scheduler"
	slave           = "slave scheduler"
)

// guidePorts is the guide's table.
var guidePorts = []Port{
	{Number: 443, On: site.Central, Service: site.Proxy, From: []Dialler{rims}, Clients: true, Speech: TLS, Purpose: "browsers and the other nodes' services, https"},
	{Number: 443, On: site.Rim, Service: site.Proxy, From: []Dialler{central}, Clients: true, Speech: TLS, Purpose: "browsers and the other nodes' services, https"},
	{Number: 4144, On: site.Central, Service: site.Proxy, From: []Dialler{rims}, Clients: true, Speech: TLS, Purpose: authentication},
	{Number: 4144, On: site.Rim, Service: site.Proxy, From: []Dialler{central}, Clients: true, Speech: TLS, Purpose: authentication},
	{Number: 4241, On: site.Central, Service: site.Repository, From: []Dialler{rims}, Speech: TLS, Purpose: synchronisation},
	{Number: 4241, On: site.Rim, Service: site.Repository, From: []Dialler{central}, Speech: TLS, Purpose: synchronisation},
	{Number: 4242, On: site.Central, Service: site.Repository, From: []Dialler{rims}, Speech: TLS, Purpose: repositoryAPI},
	{Number: 4242, On: site.Rim, Service: site.Repository, From: []Dialler{central}, Speech: TLS, Purpose: repositoryAPI},
	{Number: 4243, On: site.Central, Service: site.Proxy, From: []Dialler{rims}, Speech: TLS, Purpose: "proxy API"},
	{Number: 4243, On: site.Rim, Service: site.Proxy, From: []Dialler{central}, Speech: TLS, Purpose: "proxy API"},
	{Number: 4444, On: site.Rim, Service: site.Repository, From: []Dialler{central}, Speech: HTTP, Purpose: certificate},
	{Number: 5050, On: site.Central, Service: site.Scheduler, From: []Dialler{rims}, Speech: TLS, Purpose: master},
	{Number: 5051, On: site.Central, Service: site.Scheduler, From: []Dialler{rims}, Speech: TLS, Purpose: slave},
	{Number: 5051, On: site.Rim, Service: site.Scheduler, From: []Dialler{central}, Speech: TLS, Purpose: slave},
}

// sharedPorts is the table of sites with one database, since June 2017.
var sharedPorts = []Port{
	{Number: 443, Service: site.Proxy, Clients: true, Speech: TLS, Purpose: hub},
	{Number: 4239, Service: site.Repository, From: []Dialler{proxies}, Speech: TLS, Purpose: webSocket},
	{Number: 4242, On: site.Central, Service: site.Repository, From: []Dialler{rims}, Speech: TLS, Purpose: repositoryAPI},
	{Number: 4242, On: site.Rim, Service: site.Repository, From: []Dialler{central, proxies}, Speech: TLS, Purpose: repositoryAPI},
	{Number: 4243, Service: site.Proxy, From: []Dialler{repositories}, Speech: TLS, Purpose: proxyAPI},
	{Number: 4244, Service: site.Proxy, Clients: true, Speech: TLS, Purpose: authentication},
	{Number: 4432, On: site.Central, Service: site.Repository, Part: database, From: []Dialler{rims}, Speech: Nothing, Purpose: postgres},
	{Number: 4444, On: site.Rim, Service: site.Repository, From: []Dialler{central}, Speech: HTTP, Purpose: certificate},
	{Number: 4747, Service: site.Engine, From: []Dialler{proxies}, Speech: TLS, Purpose: engine},
	{Number: 4899, Service: site.Printing, From: []Dialler{proxies}, Speech: TLS, Purpose: printing},
	{Number: 4900, Service: site.Engine, Part: broker, From: []Dialler{proxies}, Speech: TLS, Purpose: brokerAPI},
	{Number: 4949, Service: site.Engine, Part: profiling, From: []Dialler{proxies}, Speech: TLS, Purpose: profilingAPI},
	{Number: 5050, On: site.Central, Service: site.Scheduler, From: []Dialler{rimSchedulers}, Speech: TLS, Purpose: "scheduler, as manager"},
	{Number: 5151, On: site.Rim, Service: site.Scheduler, From: []Dialler{central}, Speech: TLS, Purpose: "scheduler, as worker"},
}

// carried are ports that no source for the release itself shows.
func carried(ports []Port) []Port {
	var out []Port
	for _, p := range ports {
		p.Carried = true
		out = append(out, p)
	}
	return out
}

func notes(all ...Note) []Note { return all }

// The sources that more than one entry has.
var (
	guide   = Source{"multi-node guide for Qlik Sense 1.0.2", ""}
	pages10 = Source{"Qlik's page for 1.0", "https://help.qlik.com/en-us/sense/1.0/Subsystems/Installation_Guide/Content/Deployments/SRM_Deployment_Ports.htm"}

	deployment2018 = Source{"DSC resources of 2018-19", "github.com/ahaydon/Qlik-DSC, commit 1bc1af4"}
)

const pageApril2018 = "https://help.qlik.com/pt-BR/sense/April2018/Subsystems/PlanningQlikSenseDeployments/Content/Sense_Deployment/Ports.htm"

// The notes that more than one entry has.
var (
	guideNumbers = Note{"4144 5051", "the guide's numbers for 1.0.2, which no later source has: 4244 and 5151 are in their place; a rule for them opens nothing"}
	noSync       = Note{"4241", "synchronisation between repositories, before there was one database: the DSC resources of 2018-19 still open it, and Qlik's pages since April 2018 do not have it"}
	noUnlock     = Note{"4570", "takes the one-time password on a rim: answers on localhost alone and is closed after the unlock, so it is never opened"}
	noPlain      = Note{"80 4248", "plain HTTP of the proxy: off unless turned on in the QMC, and then open to whoever listens on the way"}
	noTestMode   = Note{"4240", "the repository in its test mode"}
	monitoring   = Note{"5252", "monitoring of the scheduler: optional, for programs outside the site"}
	noDatabase   = Note{"4432", "in the table for the central node; a database on a server of its own is not in the site file: open 4432 there for every node"}
	noShare      = Note{"445", "every node to the host of the file share: that host is not in the site file, and its rules are not preflight's"}
	noLogging    = Note{"7070", "the logging service on the central node, until about 2021 (not certain): where it is used, open it for every rim"}

	inside2018 = Note{"3003 4545 4555 4748 8088 9028-9098", "used within a node, says Qlik's page: never opened"}
	inside2021 = Note{"3003 4545 4555 4748 4950 5928 8088 9028-9098 9200", "used within a node, says Qlik's page: never opened"}
	inside2022 = Note{"2770 3003 4555 4748 4950 5928 8088 9028-9098 9200 50101-50131 52051-52081", "used within a node, says Qlik's page: never opened"}
)

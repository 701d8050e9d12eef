# Stands in for what inspect asks of Windows: HNetCfg.FwPolicy2 (sdk-api netfw.h), Get-NetConnectionProfile, the class
# Win32_Service and netstat.exe, in German as a German server prints it.
class StandInFirewall {
  [int]$CurrentProfileTypes = 1
  [int]$LocalPolicyModifyState = 0
  [bool] FirewallEnabled([int]$bit) { return $true }
  [bool] BlockAllInboundTraffic([int]$bit) { return $false }
  [int] DefaultInboundAction([int]$bit) { return 0 }
  [bool] IsRuleGroupCurrentlyEnabled([string]$group) { return $group -ceq 'Preflight' }
}

function New-Object {
  param([string]$TypeName, [string]$ComObject)
  if ($ComObject -cne 'HNetCfg.FwPolicy2') { throw "no stand-in for $TypeName$ComObject" }
  return [StandInFirewall]::new()
}

enum StandInCategory { Public; Private; DomainAuthenticated }

function Get-NetConnectionProfile {
  [CmdletBinding()] param()
  if ([IO.File]::Exists([IO.Path]::Combine($env:PREFLIGHT_STANDINS, 'no-networks'))) { throw [InvalidOperationException]::new('Invalid class') }
  return [pscustomobject]@{ InterfaceIndex = 4; NetworkCategory = [StandInCategory]::DomainAuthenticated; Name = 'corp.example' }
}

function Get-CimInstance {
  [CmdletBinding()] param([string]$ClassName, [string]$Filter, [uint32]$OperationTimeoutSec)
  if ($ClassName -cne 'Win32_Service' -or $Filter -cne "Name LIKE 'QlikSense%'") { throw "no stand-in for $ClassName $Filter" }
  return [pscustomobject]@{ Name = 'QlikSenseRepositoryService'; State = 'Running'; StartMode = 'Auto'; ProcessId = $PID; PathName = '"C:\Program Files\Qlik\Sense\Repository\Repository.exe"' }
}

function netstat.exe {
  if ([IO.File]::Exists([IO.Path]::Combine($env:PREFLIGHT_STANDINS, 'no-netstat'))) { return }
  ''
  'Aktive Verbindungen'
  ''
  '  Proto  Lokale Adresse         Remoteadresse          Status           PID'
  '  TCP    0.0.0.0:135            0.0.0.0:0              ABH' + [char]0xd6 + 'REN         912'
  "  TCP    0.0.0.0:4242           0.0.0.0:0              ABH$([char]0xd6)REN         $PID"
  "  TCP    127.0.0.1:4570         0.0.0.0:0              ABH$([char]0xd6)REN         $PID"
  '  TCP    10.0.0.12:52100        10.0.0.11:4242         HERGESTELLT     2104'
  '  TCP    10.0.0.12:52101        10.0.0.11:4242         WARTEND         0'
  "  TCP    [::]:443               [::]:0                 ABH$([char]0xd6)REN         4"
  '  UDP    0.0.0.0:123            *:*                                    1100'
}

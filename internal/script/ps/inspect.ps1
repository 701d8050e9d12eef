# inspect: reads, changes nothing. In: "peer NAME HOST" for each server this one talks to, "state" to ask the local
# repository service for its state, "go". Out: facts, and after each section "read SECTION" or "unknown SECTION WHY".
$peers = @(); $state = $false
while ($true) {
  $f = Read-Frame
  if ($f[0] -ceq 'peer') { $peers += , $f } elseif ($f[0] -ceq 'state') { $state = $true } else { break }
}
$machine = [Microsoft.Win32.Registry]::LocalMachine
$policy = 'SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy'
$group = 'SOFTWARE\Policies\Microsoft\WindowsFirewall'

function Read-Section([string]$name, [scriptblock]$read) {
  try { & $read; Send-Frame 'read' $name } catch { Send-Failure 'unknown' $name $_ }
}

function Read-Rules([string]$store, [string]$path, [bool]$expected) {
  $key = $machine.OpenSubKey($path)
  if ($null -eq $key) {
    if ($expected) { throw "HKLM\$path does not exist" }
    return
  }
  try { foreach ($id in $key.GetValueNames()) { Send-Frame 'rule' $store $id $key.GetValue($id) } } finally { $key.Close() }
}

function Read-Settings([string]$store, [string]$path) {
  foreach ($profile in 'DomainProfile', 'StandardProfile', 'PrivateProfile', 'PublicProfile') {
    $key = $machine.OpenSubKey("$path\$profile")
    if ($null -eq $key) { continue }
    try {
      foreach ($name in 'EnableFirewall', 'DefaultInboundAction', 'DoNotAllowExceptions', 'AllowLocalPolicyMerge', 'DisableStealthMode') {
        $value = $key.GetValue($name)
        if ($null -ne $value) { Send-Frame 'setting' $store $profile $name $value }
      }
    } finally { $key.Close() }
  }
}

try {
  Read-Section 'system' {
    $uptime = [long]([Diagnostics.Stopwatch]::GetTimestamp() / [Diagnostics.Stopwatch]::Frequency)
    Send-Frame 'system' ([Environment]::MachineName) ([Environment]::OSVersion.Version) $PSVersionTable.PSVersion ([Globalization.CultureInfo]::CurrentUICulture.Name) $uptime
  }
  Read-Section 'addresses' {
    foreach ($interface in [Net.NetworkInformation.NetworkInterface]::GetAllNetworkInterfaces()) {
      if ([string]$interface.OperationalStatus -cne 'Up' -or [string]$interface.NetworkInterfaceType -ceq 'Loopback') { continue }
      $properties = $interface.GetIPProperties()
      $index = 0
      try { $index = $properties.GetIPv4Properties().Index } catch { }
      foreach ($address in $properties.UnicastAddresses) { Send-Frame 'address' $index $interface.Name $address.Address $address.PrefixLength }
    }
  }
  Read-Section 'networks' {
    foreach ($network in @(Get-NetConnectionProfile -ErrorAction Stop)) { Send-Frame 'network' $network.InterfaceIndex ([int]$network.NetworkCategory) $network.Name }
  }
  Read-Section 'rules-local' { Read-Rules 'local' "$policy\FirewallRules" $true }
  Read-Section 'rules-policy' { Read-Rules 'policy' "$group\FirewallRules" $false }
  Read-Section 'rules-mdm' { Read-Rules 'mdm' "$policy\Mdm\FirewallRules" $false }
  Read-Section 'settings' {
    Read-Settings 'local' $policy
    Read-Settings 'policy' $group
    Read-Settings 'mdm' "$policy\Mdm"
  }
  Read-Section 'live' {
    $firewall = New-Object -ComObject HNetCfg.FwPolicy2
    Send-Frame 'active' $firewall.CurrentProfileTypes $firewall.LocalPolicyModifyState
    foreach ($bit in 1, 2, 4) { Send-Frame 'live' $bit ([int]$firewall.FirewallEnabled($bit)) ([int]$firewall.BlockAllInboundTraffic($bit)) ([int]$firewall.DefaultInboundAction($bit)) }
  }
  Read-Section 'listeners' {
    $owners = @{}
    $rows = @(& netstat.exe -ano)
    if ($rows.Count -eq 0) { throw 'netstat printed nothing' }
    foreach ($row in $rows) {
      if ([string]$row -notmatch '^\s*TCP\s+\S+\s+\S+:0\s.*?(\d+)\s*$') { continue }
      $owners[$Matches[1]] = $true
      Send-Frame 'listener' ([string]$row).Trim()
    }
    foreach ($id in $owners.Keys) {
      try { Send-Frame 'process' $id ([Diagnostics.Process]::GetProcessById([int]$id).ProcessName) } catch { }
    }
  }
  Read-Section 'services' {
    foreach ($service in @(Get-CimInstance -ClassName Win32_Service -Filter "Name LIKE 'QlikSense%'" -OperationTimeoutSec 15 -ErrorAction Stop)) {
      Send-Frame 'service' $service.Name $service.State $service.StartMode $service.ProcessId $service.PathName
    }
  }
  Read-Section 'releases' {
    foreach ($path in 'SOFTWARE\WOW6432Node\Microsoft\Windows\CurrentVersion\Uninstall', 'SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall') {
      $key = $machine.OpenSubKey($path)
      if ($null -eq $key) { continue }
      try {
        foreach ($name in $key.GetSubKeyNames()) {
          $product = $key.OpenSubKey($name)
          if ($null -eq $product) { continue }
          try { if ([string]$product.GetValue('DisplayName') -like 'Qlik Sense*') { Send-Frame 'release' $product.GetValue('DisplayName') $product.GetValue('DisplayVersion') } } finally { $product.Close() }
        }
      } finally { $key.Close() }
    }
  }
  Read-Section 'certificates' {
    # Those that Qlik Sense made, in the computer's own stores of trusted roots and of personal certificates.
    $location = [Security.Cryptography.X509Certificates.StoreLocation]::LocalMachine
    foreach ($name in 'Root', 'My') {
      $store = [Activator]::CreateInstance([Security.Cryptography.X509Certificates.X509Store], [object[]]@($name, $location))
      try {
        $store.Open([Security.Cryptography.X509Certificates.OpenFlags]'ReadOnly, OpenExistingOnly')
        foreach ($certificate in $store.Certificates) {
          foreach ($extension in $certificate.Extensions) {
            if ($extension.Oid.Value -cne '1.3.6.1.5.5.7.13.3') { continue }
            Send-Frame 'certificate' $name.ToLowerInvariant() $certificate.Subject $certificate.Issuer $certificate.Thumbprint ($certificate.NotAfter.ToUniversalTime().ToString('s') + 'Z')
            break
          }
        }
      } finally { $store.Close() }
    }
  }
  if ($state) {
    Read-Section 'state' {
      Send-State
    }
  }
  Read-Section 'peers' {
    # All names are looked up at the same time, for 15 s at most.
    $patience = [Diagnostics.Stopwatch]::StartNew()
    $asked = @(foreach ($peer in $peers) { [Net.Dns]::BeginGetHostAddresses($peer[2], $null, $null) })
    for ($i = 0; $i -lt $peers.Count; $i++) {
      $peer = $peers[$i]
      $code = 10060
      try {
        if (-not $asked[$i].AsyncWaitHandle.WaitOne([int][Math]::Max(0, 15000 - $patience.ElapsedMilliseconds))) { throw 'no answer' }
        $addresses = [Net.Dns]::EndGetHostAddresses($asked[$i])
      } catch {
        $e = $_.Exception.GetBaseException()
        if ($e -is [Net.Sockets.SocketException]) { $code = [int]$e.SocketErrorCode }
        Send-Frame 'peer' $peer[1] '' '' $code
        continue
      }
      foreach ($address in $addresses) {
        # The address this server would use to talk to that one. Connecting a UDP socket chooses it and sends nothing.
        $socket = [Activator]::CreateInstance([Net.Sockets.Socket], [object[]]@($address.AddressFamily, [Net.Sockets.SocketType]::Dgram, [Net.Sockets.ProtocolType]::Udp))
        try {
          $socket.Connect($address, 9)
          Send-Frame 'peer' $peer[1] $address $socket.LocalEndPoint.Address 0
        } catch { Send-Frame 'peer' $peer[1] $address '' ([int]$_.Exception.GetBaseException().SocketErrorCode) } finally { $socket.Close() }
      }
    }
  }
  Send-Frame 'clock' ([DateTime]::UtcNow.ToString('o'))
  Send-Frame 'end' 'ok'
} catch { Send-Failure 'end' 'error' $_ }

# Stands in for System.Net.WebRequest where the state has a file "http", for a test cannot own the two ports that the scripts
# ask: each of its lines is a port of theirs, a space, and the test's. What is made for an address at one of those ports is
# the real request, at the other port; at any other address nothing is made.
class StandInRequest {
  static [object] Create([string]$address) {
    foreach ($line in [IO.File]::ReadAllLines([IO.Path]::Combine($env:PREFLIGHT_STANDINS, 'http'))) {
      $theirs, $ours = $line.Split(' ')
      if ($address.StartsWith("http://localhost:$theirs/", 'Ordinal')) { return [System.Net.WebRequest]::Create($address.Replace(":$theirs/", ":$ours/")) }
    }
    throw "no stand-in for $address"
  }
}
if ([IO.File]::Exists([IO.Path]::Combine($env:PREFLIGHT_STANDINS, 'http'))) {
  [psobject].Assembly.GetType('System.Management.Automation.TypeAccelerators')::Add('Net.WebRequest', [StandInRequest])
}

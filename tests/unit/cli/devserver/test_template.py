"""The gateway on this machine has the routes of the template."""

from pathlib import Path

import yaml

from meterstone_cli.devserver.template import routes

ROOT = Path(__file__).parents[4]

TEMPLATE = """
Resources:
  Api: {Type: AWS::Serverless::Api, Properties: {Name: !Sub "${AWS::StackName}", Only: !If [A, !Ref B, C]}}
  Hello:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/hello/
      Policies: [{Statement: [{Resource: !GetAtt Table.Arn}]}]
      Events:
        Get: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /hello, Method: GET}}
        Any: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /hello, Method: ANY}}
        Wrong: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /of-one-method, Method: GET}}
        Other: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /hello/again, Method: ANY}}
  Follower:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/follower/
      Events: {Stream: {Type: DynamoDB, Properties: {Stream: !GetAtt Table.StreamArn}}}
  Machine:
    Type: AWS::Serverless::StateMachine
    Properties:
      Events: {Any: {Type: Api, Properties: {RestApiId: !Ref Api, Path: /machine, Method: ANY}}}
  Alone: {Type: AWS::Serverless::Function, Properties: {CodeUri: functions/alone/}}
"""


def test_a_path_is_answered_by_the_function_that_any_method_reaches(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text(TEMPLATE)

    hello = tmp_path / "functions" / "hello"
    assert routes(tmp_path / "template.yaml") == {"/hello": hello, "/hello/again": hello}


def test_every_path_that_is_promised_has_a_function() -> None:
    promised = yaml.safe_load((ROOT / "openapi.yaml").read_text())["paths"]
    found = routes(ROOT / "template.yaml")

    assert found.keys() == promised.keys()
    assert all((folder / "app.py").is_file() for folder in found.values())
